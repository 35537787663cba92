"""What `glipv2 weights` does: saying what a weights file is, and writing it as one of this project's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from glipv2.checkpoints import Checkpoint, checkpoint_in, read_checkpoint, record_of, save_weights, weights_file
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.fetch import sha256_of
from glipv2.models.kinds import GLIP, MMDET, kind_of
from glipv2.models.weights import Contents, opened, read_file
from glipv2.tasks.base import RECORD_KEY, Task
from glipv2.tokenizer import BUILTIN, TokenizerConfig

Say = Callable[[str], None]
SUFFIX = ".safetensors"
NAMES_SHOWN = 8


@dataclass(frozen=True)
class Fit:
    """How a checkpoint's tensors meet its model's. wrong_shape: name -> (expected, found)."""

    missing: tuple[str, ...]
    wrong_shape: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unused: tuple[str, ...]

    @property
    def unfilled(self) -> tuple[str, ...]:
        """Names of the model's tensors that the file does not fill."""
        return (*self.missing, *self.wrong_shape)


def import_weights(
    source: str,
    output: str,
    *,
    partial: bool = False,
    averaged: bool = False,
    force: bool = False,
    tokenizer: str | None = None,
    say: Say = print,
) -> Path:
    """Writes `output` with the tensors and the description of `source`, and says every name that did not fit.

    partial: tensors that the file lacks start fresh instead of ending the import. UserError when
    output can't be written or the file does not fill its model.
    """
    path = _writable(output, force)
    checkpoint = read_checkpoint(source, averaged)
    if tokenizer:
        checkpoint = replace(checkpoint, model=_with_tokenizer(checkpoint.model, tokenizer))
    fit = _fit(checkpoint)
    say("\n".join(_report(checkpoint, fit)))
    if fit.unfilled and not partial:
        raise UserError(
            f"{source}: {len(fit.missing)} tensors missing and {len(fit.wrong_shape)} of another shape, listed above; "
            f"nothing was written; --partial starts them fresh"
        )
    tensors, fresh = _whole(checkpoint, fit)
    record = record_of(
        checkpoint.model,
        checkpoint.task,
        checkpoint.vocabulary,
        checkpoint.answers,
        carry_tokenizer=_can_be_had(checkpoint.model.tokenizer, say),
    )
    save_weights(path, tensors, {**record, "fresh": fresh} if fresh else record)
    say(f"written to {path}: {_size(tensors.values())}, sha256 {sha256_of(path)}")
    return path


def describe(source: str) -> str:
    """What a weights file is, in lines of `what  value`; UserError when it can't be read."""
    path = weights_file(source)
    content, metadata = read_file(path)
    contents = opened(content, metadata, str(path))
    record = metadata.get(RECORD_KEY) or content.get(RECORD_KEY)
    kind = kind_of(contents.tensors)
    lines = {"file": f"{path} ({path.stat().st_size / 1e6:.1f} MB)", "sha256": sha256_of(path)}
    if isinstance(record, str) or kind in (GLIP, MMDET):
        lines |= _of_checkpoint(checkpoint_in(path, content, metadata))
    else:
        lines |= {"kind": f"{kind.title}; {kind.use}", "first names": ", ".join(list(contents.tensors)[:3])}
    lines |= {"tensors": _size(contents.tensors.values()), "taken from": _wrapping(contents)}
    return "\n".join(f"{what:12} {value}" for what, value in lines.items())


def _writable(output: str, force: bool) -> Path:
    """Where to write; UserError before anything large is read."""
    path = Path(output).expanduser()
    if path.is_dir():
        raise UserError(f"-o {output}: is a folder; name the file to write, {path / 'weights.safetensors'}")
    if path.suffix != SUFFIX:
        raise UserError(f"-o {output}: expected a name ending in {SUFFIX}; write {path.with_suffix(SUFFIX)}")
    if not path.parent.is_dir():
        raise UserError(f"-o {output}: no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"-o {output}: the folder {path.parent} can't be written to; choose another")
    if path.exists() and not force:
        raise UserError(f"-o {output}: exists already; choose another name, or --force to write over it")
    return path


def _with_tokenizer(model: ModelConfig, source: str) -> ModelConfig:
    """The model with another tokenizer; UserError when it can't be read or has more pieces than the embedding."""
    path = Path(source).expanduser()
    tokenizer = replace(model.tokenizer, source=str(path.resolve()) if path.exists() else source)
    pieces = tokenizer.build().vocab_size
    rows = model.text.options.get("vocab_size", pieces)
    if pieces > rows:
        raise UserError(f"--tokenizer {source}: has {pieces} pieces, the text encoder's embedding {rows} rows")
    return replace(model, tokenizer=tokenizer)


def _can_be_had(tokenizer: TokenizerConfig, say: Say) -> bool:
    """Whether the tokenizer is on this machine or the hub gives it; says what it means if not."""
    try:
        tokenizer.build()
    except UserError:
        say(
            f"tokenizer '{tokenizer.source}' can't be had here: the file written names it alone, and looks for it when "
            f"it is used; --tokenizer FOLDER (with its vocab.txt or tokenizer.json) puts it into the file"
        )
        return False
    return True


def _built(checkpoint: Checkpoint) -> Task:
    """The checkpoint's task with fresh weights. Its tokenizer is left out where the embedding's size is known."""
    model = checkpoint.model
    known = "vocab_size" in model.text.options
    config = replace(
        model,
        tokenizer=replace(model.tokenizer, source=BUILTIN) if known else model.tokenizer,
        image=replace(model.image, pretrained=False, weights=None),
        text=replace(model.text, pretrained=False, weights=None),
    )
    return checkpoint.task.build(config, LossConfig.grounding_only(), checkpoint.answers)


def _fit(checkpoint: Checkpoint) -> Fit:
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in _built(checkpoint).state_dict().items()}
    found = {name: tuple(value.shape) for name, value in checkpoint.tensors.items()}
    return Fit(
        missing=tuple(name for name in expected if name not in found),
        wrong_shape={name: (shape, found[name]) for name, shape in expected.items() if found.get(name, shape) != shape},
        unused=(*checkpoint.unused, *(name for name in found if name not in expected)),
    )


def _whole(checkpoint: Checkpoint, fit: Fit) -> tuple[dict[str, Tensor], list[str]]:
    """Every tensor of the model, and the names of those that start fresh, in this import or an earlier one."""
    unfilled = set(fit.unfilled)
    left_out = unfilled.union(fit.unused)
    fitting = {name: value for name, value in checkpoint.tensors.items() if name not in left_out}
    if not unfilled:
        return fitting, list(checkpoint.fresh)
    torch.manual_seed(0)
    start = _built(checkpoint).state_dict()
    fresh = [name for name in start if name in unfilled or name in checkpoint.fresh]
    return {name: fitting.get(name, value) for name, value in start.items()}, fresh


def _report(checkpoint: Checkpoint, fit: Fit) -> list[str]:
    """What was read, and every name that did not fit."""
    lines = [f"{what:12} {value}" for what, value in _of_checkpoint(checkpoint).items()]
    lines += [f"{'taken from':12} '{checkpoint.wrapper}'"] if checkpoint.wrapper else []
    shapes = [f"{name} (expected {list(own)}, found {list(its)})" for name, (own, its) in fit.wrong_shape.items()]
    for what, names in (("not used", fit.unused), ("not in the file", fit.missing), ("of another shape", shapes)):
        lines += [f"{what}: {len(names)}", *(f"  {name}" for name in names)]
    return lines


def _of_checkpoint(checkpoint: Checkpoint) -> dict[str, str]:
    names = checkpoint.vocabulary.names
    model = checkpoint.model
    facts = {
        "reread offsets": model.fusion.reread_offsets,
        "inclusive boxes": model.regions.inclusive_boxes,
        "last pixels": model.regions.last_pixels,
        "blue first": model.pixels.bgr,
    }
    more = ", …" if len(names) > NAMES_SHOWN else ""
    fresh = (
        {"started fresh": f"{len(checkpoint.fresh)} tensors: {', '.join(checkpoint.fresh)}"} if checkpoint.fresh else {}
    )
    return {
        "kind": checkpoint.title,
        "model": f"{model.name} ({', '.join(f'{what}: {_yes(on)}' for what, on in facts.items())})",
        "task": checkpoint.task.name,
        "vocabulary": f"{len(names)} names: {', '.join(names[:NAMES_SHOWN])}{more}",
        "tokenizer": model.tokenizer.source,
        **fresh,
    }


def _wrapping(contents: Contents) -> str:
    if contents.wrapper is None:
        return "the top of the file"
    also = f"; also in the file: {', '.join(contents.others)}" if contents.others else ""
    return f"'{contents.wrapper}'{also}"


def _size(tensors: Iterable[Tensor]) -> str:
    sizes = [tensor.numel() for tensor in tensors]
    return f"{len(sizes)} tensors, {sum(sizes) / 1e6:.2f} M numbers"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
