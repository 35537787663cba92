"""Claims about losses that are no numbers: the run stops with its weights whole, and the batch can be looked into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from glipv2.data.mixing import RoutedBatch
from glipv2.data.shapes import ShapesDataset
from glipv2.data.sources import ShapesData
from glipv2.data.transforms import ExampleDataset
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.nonfinite import StopOnNonFinite, Stopped, plain, read_stopped, rebuilt, save_stopped
from glipv2.tasks.joint import TASKS, JointConfig

TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "data=shapes",
    "data.image_size=64", "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0", "data.eval_scenes=2",
    "trainer.accelerator=cpu", "trainer.log_every=1", "tracking=off", "trainer.progress=false",
)  # fmt: skip


def same(first: Any, second: Any) -> bool:
    """Whether two batches hold the same."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


@pytest.mark.parametrize("name", TASKS)
def test_every_tasks_batch_comes_back_from_plain_values(model_config: ModelConfig, name: str, tmp_path: Path) -> None:
    samples = ShapesDataset("train", 4, image_size=64)
    examples = ExampleDataset(samples, model_config.pixels, None)
    task = JointConfig().streams()[name].task
    batch = task.collator(model_config, ShapesData(), samples, True)([examples[index] for index in range(3)])
    torch.save(plain(RoutedBatch(name, batch)), tmp_path / "batch.pt")
    found = rebuilt(torch.load(tmp_path / "batch.pt", weights_only=True))
    assert isinstance(found, RoutedBatch)
    assert type(found.batch) is type(batch)
    assert same(plain(found.batch), plain(batch))
    built = task.build(model_config, LossConfig(), samples.answers).eval()
    torch.manual_seed(0)
    expected = built.losses(batch).terms
    torch.manual_seed(0)
    torch.testing.assert_close(built.losses(found.batch).terms, expected, rtol=0, atol=0)


def stopped_by(value: float, tmp_path: Path, broken: bool = False, strategy: Any = None) -> str:
    """The message of a loss of this value."""
    module: Any = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(float("nan") if broken else 1.0)
    module.terms, module.record = {"box": torch.tensor(value), "alignment": torch.tensor(0.5)}, {}
    loop = SimpleNamespace(total_batch_idx=50)
    trainer: Any = SimpleNamespace(global_step=50, global_rank=0, fit_loop=loop, strategy=strategy)
    truth = [SimpleNamespace(name=f"{name}.jpg") for name in "abcdefghij"]
    batch: Any = SimpleNamespace(truth=truth, to=lambda device: None)
    stop = StopOnNonFinite(tmp_path)
    stop.on_train_batch_start(trainer, module, batch, 0)
    with pytest.raises(UserError) as error:
        stop.on_before_backward(trainer, module, torch.tensor(value))
    return str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_it_names_the_terms_and_the_images(value: float, tmp_path: Path) -> None:
    message = stopped_by(value, tmp_path)
    assert f"became {value} at step 50 (terms: box {value})" in message
    assert "images a.jpg, b.jpg, c.jpg, d.jpg, e.jpg, f.jpg, g.jpg, h.jpg and 2 more." in message
    assert f"replay={tmp_path}/nonfinite/step_50_rank_0.pt" in message
    assert (tmp_path / "nonfinite/step_50_rank_0.pt").is_file()


def test_where_weights_are_spread_all_ranks_stop_and_the_one_concerned_keeps_whole_weights(tmp_path: Path) -> None:
    strategy = SimpleNamespace(
        whole_weights=lambda: {"weight": torch.ones(3)}, reduce_boolean_decision=lambda own, all: True
    )
    assert "another process of this job" in stopped_by(1.0, tmp_path, strategy=strategy)
    assert not (tmp_path / "nonfinite").exists()
    stopped_by(float("nan"), tmp_path, strategy=strategy)
    assert read_stopped(tmp_path / "nonfinite/step_50_rank_0.pt").tensors["weight"].tolist() == [1.0, 1.0, 1.0]


def test_weights_that_broke_before_are_told_apart(tmp_path: Path) -> None:
    assert "1 weights are so already, as weight: an earlier step broke them" in stopped_by(float("nan"), tmp_path, True)


def test_a_finite_loss_goes_on(tmp_path: Path) -> None:
    trainer: Any = SimpleNamespace(strategy=None)
    assert StopOnNonFinite(tmp_path).on_before_backward(trainer, None, torch.tensor(3.0)) is None  # type: ignore[arg-type,func-returns-value]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    torch.save({"record": "{}", "batch": {"kind": "Popen", "fields": {}}}, tmp_path / "other.pt")
    for name, message in (("missing.pt", "no such file"), ("other.pt", "can't be read")):
        with pytest.raises(UserError, match=message):
            read_stopped(tmp_path / name)


def test_a_file_says_all_of_it(tmp_path: Path) -> None:
    stopped = Stopped({"a": 1}, RoutedBatch("vqa", torch.ones(2)), {"box": 2.0}, 7, 1, {"w": torch.zeros(1)})
    save_stopped(tmp_path / "x.pt", stopped)
    found = read_stopped(tmp_path / "x.pt")
    assert same(plain(found.batch), plain(stopped.batch))
    assert replace(found, batch=None, tensors={}) == replace(stopped, batch=None, tensors={})


@pytest.mark.slow
def test_a_run_stops_with_whole_weights_and_its_batch_can_be_replayed(
    tmp_path: Path, glipv2: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(self: nn.Module, *inputs: Any) -> Any:
        poisoned.calls += 1  # type: ignore[attr-defined]
        levels, tokens = original(self, *inputs)
        return tuple(level * (float("nan") if poisoned.calls > 2 else 1.0) for level in levels), tokens  # type: ignore[attr-defined]

    from glipv2.models.fusion import FusionTower

    original, poisoned.calls = FusionTower.forward, 0  # type: ignore[attr-defined]
    monkeypatch.setattr(FusionTower, "forward", poisoned)
    ended = glipv2(tmp_path, "train", *TINY, "output=run", "trainer.max_steps=9", "trainer.save_every=1")
    assert ended.code == 2
    assert "became nan at step 2 (terms: alignment nan, box nan, centerness nan)" in ended.err
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values() if value.is_floating_point())
    (path,) = (tmp_path / "run/nonfinite").iterdir()
    again = glipv2(tmp_path, "train", f"replay={path.relative_to(tmp_path)}")
    assert again.code == 0, again.err
    assert "first output that is not finite: core.fusion" in again.out
    assert sorted(place.name for place in tmp_path.iterdir()) == ["run"]
