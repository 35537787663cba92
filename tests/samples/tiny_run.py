"""A run of seconds: the words of its command, and what a command that went well said."""

from __future__ import annotations

from typing import Any

TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]",
    "data=shapes", "data.image_size=64", "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0",
    "data.eval_scenes=8", "trainer.accelerator=cpu", "trainer.log_every=1", "tracking=off",
    "task.selection.min_probability=0",  # so that a model of five steps finds something
)  # fmt: skip


def done(ended: Any) -> str:
    """The output of a command that went well."""
    assert ended.code == 0, ended.err
    return str(ended.out)
