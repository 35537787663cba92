"""`glipv2 data pack`: whatever a training reads, in shards that are read from a disk or an object store."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from glipv2.arguments import composed
from glipv2.config import SCHEMAS, to_plain
from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.data.joined import JoinedDataset
from glipv2.data.shards.layout import PackIndex
from glipv2.data.shards.source import ViewSource
from glipv2.data.shards.writing import PackConfig, pack
from glipv2.data.truths import DescribedImages
from glipv2.errors import UserError
from glipv2.tasks.base import TaskConfig

log = logging.getLogger(__name__)

CHANGE_NOTHING = ("batch_size", "eval_batch_size", "workers", "prompts", "augment")  # of what is packed
ANNOTATIONS = frozenset((".json", ".jsonl", ".xml", ".txt", ".yaml", ".yml"))


def pack_words(words: Sequence[str], out: Path, splits: Sequence[str], config: PackConfig) -> PackIndex:
    """Packs the data that `glipv2 train` with these words reads, for every task that it can serve.

    A word without "=" is a path, as data=auto data.path=PATH. splits: () = those that there are. Gives what was
    written; UserError like training itself, and where nothing can be packed.
    """
    paths = [word for word in words if "=" not in word]
    if len(paths) > 1:
        raise UserError(f"expected one PATH, or the words of glipv2 train, but got {' '.join(paths)}")
    given = [word for word in words if "=" in word]
    data = composed([*(("data=auto", f"data.path={paths[0]}") if paths else ()), *given]).data
    if hasattr(data, "answer_min_count"):
        data = replace(data, answer_min_count=1)  # type: ignore[call-arg]  # every answer is kept, and chosen at training
    sources = {split: views for split in splits or data.splits if (views := _views(data, split, bool(splits)))}
    if not sources:
        raise UserError("there is nothing to pack in any split; the lines above say why")
    config = replace(config, on_error="skip" if data.skips_faults else "raise")
    with _told_progress() as progress:
        return pack(sources, out, config, _signature(data, sources), progress)


def _views(data: DataConfig, split: str, asked: bool) -> list[ViewSource]:
    """The samples of a split for each different need of a task; what there is not is told."""
    found, reasons = list[ViewSource](), dict[str, str]()
    for needs, tasks in _needs().items():
        try:
            data.check_needs(needs, [split], " and ".join(tasks))
        except UserError as error:
            reasons |= dict.fromkeys(tasks, str(error))
            continue
        try:
            samples = data.dataset(split, needs)
        except UserError as error:
            if not any(needs == view.needs | {"masks"} for view in found):
                raise
            log.info(
                "%s: not for %s: %s", split, " and ".join(tasks), str(error).splitlines()[0]
            )  # boxes without masks
            continue
        _tell_lost(samples)
        found.append(ViewSource(needs, samples, data.holds(split, needs)))
    if found and reasons:
        log.info("%s: holds nothing for %s", split, ", ".join(sorted(reasons)))
    elif not found and (asked or _is_set(data, split)):
        raise UserError(next(iter(reasons.values())))
    elif not found:
        log.info("%s: not packed: %s", split, next(iter(reasons.values())))
    return found


def _needs() -> dict[frozenset[str], list[str]]:
    """What tasks ask of a sample, and which tasks."""
    found: dict[frozenset[str], list[str]] = {}
    for name, schema in SCHEMAS["task"].items():
        if issubclass(schema, TaskConfig) and schema.needs:
            found.setdefault(schema.needs, []).append(name)
    return dict(sorted(found.items(), key=lambda own: len(own[0])))


def _is_set(data: DataConfig, split: str) -> bool:
    """Whether the words name anything of this split."""
    own = getattr(data, split, None)
    return is_dataclass(own) and any(getattr(own, entry.name) for entry in fields(own))


def _tell_lost(samples: SampleDataset) -> None:
    judgements = getattr(samples, "judgements", None)
    if judgements:
        log.info("shards can't hold %d judgements of LVIS: protocol=lvis reads the file itself", len(judgements))


def _signature(data: DataConfig, sources: Mapping[str, Sequence[ViewSource]]) -> dict[str, Any]:
    """What decides on the result: the words, and the files of annotations."""
    paths = {Path(value) for value in _texts(to_plain(data)) if value and Path(value).exists()}
    for views in sources.values():
        for view in views:
            images = view.samples.images if isinstance(view.samples, JoinedDataset) else view.samples
            if isinstance(images, DescribedImages):
                paths.add(images.described_by(0))
    return {
        "data": {key: value for key, value in asdict(data).items() if key not in CHANGE_NOTHING},
        "splits": {name: [view.name for view in own] for name, own in sources.items()},
        "files": {str(path): _digest(path) for path in sorted(paths)},
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for own in value.values() if isinstance(value, dict) else value:
            yield from _texts(own)


def _digest(path: Path) -> str:
    """Of a file, or of the annotations below a folder."""
    digest = hashlib.sha256()
    for own in [path] if path.is_file() else sorted(path.rglob("*")):
        if own.is_file() and own.suffix.lower() in ANNOTATIONS:
            with own.open("rb") as file:
                digest.update(f"{own.relative_to(path)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


@contextmanager
def _told_progress() -> Iterator[Any]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def told(split: str, done: int, total: int) -> None:
            if split not in tasks:
                tasks[split] = bar.add_task(f"packing {split}", total=total)
            bar.update(tasks[split], completed=done)

        yield told
