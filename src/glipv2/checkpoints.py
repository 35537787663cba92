"""Weights that say what they are: safetensors with the config and the vocabulary as JSON beside the tensors."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from glipv2 import __version__
from glipv2.config import SCHEMAS, TrainConfig, from_plain, load_plugins, model_preset, to_plain
from glipv2.data.coco_names import COCO
from glipv2.errors import UserError, nearest
from glipv2.hushed import hushed
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.conventions import AS_WEIGHTS, starting_from
from glipv2.models.core import BERT_PIECES
from glipv2.models.fetch import BUILTIN, local_file
from glipv2.models.kinds import GLIP, MMDET, kind_of
from glipv2.models.released import TITLES, translate
from glipv2.models.weights import Contents, load_into, opened, read_file
from glipv2.structures import Vocabulary
from glipv2.tasks.base import RECORD_KEY, Task, TaskConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.tokenizer import carried
from glipv2.tune import plain_weights

log = logging.getLogger(__name__)

FORMAT = 1
WEIGHTS_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds: tensors, and everything needed to rebuild their model.

    title: what it is; wrapper: the file's entry that held the tensors; unused: names in the file
    that hold nothing of ours; fresh: tensors that no file filled, see `weights import --partial`.
    """

    source: str
    tensors: Mapping[str, Tensor]
    model: ModelConfig
    task: TaskConfig
    vocabulary: Vocabulary
    answers: tuple[str, ...] = ()
    title: str = "checkpoint of this project"
    wrapper: str | None = None
    unused: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()

    def build(self) -> Task:
        """The task with these weights, ready to predict; UserError when a tensor is missing or misshapen."""
        # the file brings every weight: nothing is fetched or read from where training once found it
        image = replace(self.model.image, pretrained=False, weights=None)
        text = replace(self.model.text, pretrained=False, weights=None)
        with hushed("glipv2.models", logging.WARNING):  # that parts start from random numbers
            model = replace(self.model, image=image, text=text)
            loss = LossConfig.grounding_only()
            if any(name.startswith("contrast.") for name in self.tensors):  # by which names are screened
                loss.contrast.weight = 1.0
            task = self.task.build(model, loss, self.answers)
        report = load_into(task, self.tensors, self.source, f"{self.model.name} {self.task.name} model")
        if report.missing or report.wrong_shape:
            raise UserError(f"{self.source}: these weights don't fit the model: {report}")
        if self.fresh:
            log.warning(
                "%s: %d tensors were in no file and hold random numbers (%s, …); train them before believing a result",
                self.source, len(self.fresh), ", ".join(self.fresh[:3]),
            )  # fmt: skip
        for part in task.subtasks().values():
            part.vocabulary = self.vocabulary
        return task.eval()


def with_weights_model(config: TrainConfig) -> TrainConfig:
    """A run's config with the model that is trained, which for `model=as_weights` stands in the weights' file."""
    if config.model.name != AS_WEIGHTS:
        return config
    config.check()
    start = read_checkpoint(config.weights or str(config.resume))
    return replace(config, model=starting_from(config.model, start.model)[0])


def record_of(
    model: ModelConfig, task: TaskConfig, vocabulary: Vocabulary, answers: Sequence[str] = (), *,
    carry_tokenizer: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """What stands beside the tensors, as plain JSON values; the tokenizer whole, or its source alone."""
    return {
        "format": FORMAT,
        "glipv2": __version__,
        "task": task.name,
        "model": to_plain(model),
        "task_config": to_plain(task),
        "vocabulary": vocabulary.to_json(),
        "answers": list(answers),
        "tokenizer": model.tokenizer.serialized() if carry_tokenizer else None,
    }


def released_model(preset: str) -> ModelConfig:
    """The model of released weights: a preset with the released slips, filled from the file alone."""
    model = model_preset(preset)
    return replace(
        model,
        image=replace(model.image, pretrained=False, weights=None),
        text=replace(
            model.text, pretrained=False, weights=None, options={"vocab_size": BERT_PIECES, **model.text.options}
        ),
        fusion=replace(model.fusion, reread_offsets=True),
        regions=replace(model.regions, inclusive_boxes=True, last_pixels=True),
    )


def save_weights(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Writes a .safetensors file, whole or not at all."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        save_file(contiguous, partial, metadata={RECORD_KEY: json.dumps(record)})
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)  # as every new file; that library lets nobody else read it
        os.replace(partial, path)
    except SafetensorError as error:
        raise UserError(f"{path}: can't be written ({error}); is the disk full?") from error
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(source: str | Path, averaged: bool = False) -> Checkpoint:
    """A run folder, file or hf:// address: a checkpoint of this project, or a released GLIP, translated on the way.

    averaged=True takes the `model_ema` of a released file. UserError saying what is wrong with it.
    """
    path = weights_file(source)
    if str(source) == BUILTIN:
        log.info("weights=builtin: a small model of drawn shapes, to try things with; photographs mean little to it")
    return checkpoint_in(path, *read_file(path), averaged)


def checkpoint_in(
    path: Path, content: Mapping[str, Any], metadata: Mapping[str, str], averaged: bool = False
) -> Checkpoint:
    """See `read_checkpoint`; content and metadata as `read_file` gives them."""
    record = metadata.get(RECORD_KEY) or content.get(RECORD_KEY)
    contents = opened(content, metadata, str(path), averaged)
    return _own(path, contents, record) if isinstance(record, str) else _released(path, contents)


def _own(path: Path, contents: Contents, text: str) -> Checkpoint:
    """A checkpoint from the record beside its tensors."""
    load_plugins()
    try:
        record = json.loads(text)
        task_schema = SCHEMAS["task"].get(record["task"])
        if task_schema is None:
            raise UserError(
                f"{path}: task '{record['task']}' is unknown here; {nearest(record['task'], SCHEMAS['task'])}"
            )
        return Checkpoint(
            source=str(path),
            tensors=plain_weights(contents.tensors),
            model=_with_tokenizer(from_plain(ModelConfig, record["model"], str(path)), record.get("tokenizer")),
            task=from_plain(task_schema, record["task_config"], str(path)),
            vocabulary=Vocabulary.from_json(record["vocabulary"]),
            answers=tuple(record.get("answers", ())),
            wrapper=contents.wrapper,
            fresh=tuple(record.get("fresh", ())),
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: what it says of its model can't be read ({error!r})") from error


def model_of(record: Mapping[str, Any], source: str) -> ModelConfig:
    """The model that a record describes, with its tokenizer; nothing is fetched: weights come from elsewhere."""
    model = from_plain(ModelConfig, record["model"], source)
    image = replace(model.image, pretrained=False, weights=None)
    text = replace(model.text, pretrained=False, weights=None)
    return _with_tokenizer(replace(model, image=image, text=text), record.get("tokenizer"))


def task_of(config: TrainConfig, record: Mapping[str, Any], source: str) -> Task:
    """The task that a run with this config and record trains, on random numbers; nothing is fetched."""
    with hushed("glipv2.models", logging.WARNING):  # that parts start from random numbers
        model = config.tune.prepared(model_of(record, source))
        task = config.task.build(model, config.loss, tuple(record.get("answers", ())))
    config.tune.apply(task)
    config.optim.freeze(task)
    task.record = record
    return task


def _with_tokenizer(model: ModelConfig, serialized: str | None) -> ModelConfig:
    """The model with the tokenizer that its weights carry, wherever the original lies now."""
    if serialized is None:
        return model
    return replace(model, tokenizer=replace(model.tokenizer, source=carried(serialized)))


def _released(path: Path, contents: Contents) -> Checkpoint:
    """A released GLIP in our names; it detects COCO's names unless it is asked for others."""
    kind = kind_of(contents.tensors)
    if kind not in (GLIP, MMDET):
        raise UserError(f"{path}: holds tensors but not which model they belong to: a {kind.title}; {kind.use}")
    try:
        found = translate(contents.tensors)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    spelling = ", as mmdetection spells it" if kind == MMDET else ""
    log.info(
        "%s: %s (model=%s)%s, %d tensors, %d not used",
        path, TITLES[found.preset], found.preset, spelling, len(contents.tensors), len(found.unused),
    )  # fmt: skip
    return Checkpoint(
        source=str(path),
        tensors=found.tensors,
        model=released_model(found.preset),
        task=DetectionConfig(),
        vocabulary=COCO,
        title=f"released {TITLES[found.preset]}{spelling}",
        wrapper=contents.wrapper,
        unused=found.unused,
    )


def weights_file(source: str | Path) -> Path:
    """The file behind a run folder, a path or an hf:// address; UserError when there is none."""
    path = local_file(source)
    if not path.exists():
        raise UserError(f"weights={source}: no such file or run folder")
    if path.is_dir():
        for candidate in (path / WEIGHTS_FILE, path / "checkpoints/best.ckpt", path / "checkpoints/last.ckpt"):
            if candidate.is_file():
                return candidate
        raise UserError(f"weights={source}: the folder holds neither {WEIGHTS_FILE} nor checkpoints/best.ckpt")
    return path
