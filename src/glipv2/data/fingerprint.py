"""What data a run saw, as a hash that is cheap to take: two runs with the same one saw the same annotations."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from glipv2.data.dataset import DataConfig, SampleDataset
from glipv2.errors import UserError
from glipv2.structures import ImageTruth

LOOKED_AT = 8  # samples of a data set, evenly spaced
WHOLE = 64 * 2**20  # bytes of a file up to which all of it is read
BLOCKS, BLOCK = 64, 2**20  # what is read of a larger one


def fingerprint(config: DataConfig, opened: Mapping[str, Mapping[str, SampleDataset]]) -> dict[str, Any]:
    """ "digest" over all the rest: "sets" by split (and task, where tasks have sets of their own), "files" by key.

    opened: data sets by split and task. Of a set stand the numbers of images and names, and a hash of the truth of
    evenly spaced samples, without their pictures; of a file its bytes and a hash, of a large one that of evenly spaced
    blocks. Folders of pictures are not read.
    """
    sets = {name: _of_samples(samples) for name, samples in _distinct(opened)}
    files = {key: _of_file(path) for key, path in _files(dataclasses.asdict(config))}
    return {"digest": _short({"sets": sets, "files": files}), "sets": sets, "files": files}


def _distinct(opened: Mapping[str, Mapping[str, SampleDataset]]) -> Iterator[tuple[str, SampleDataset]]:
    for split, by_task in opened.items():
        once: dict[int, tuple[str, SampleDataset]] = {}
        for task, samples in by_task.items():
            once.setdefault(id(samples), (task, samples))
        for task, samples in once.values():
            yield (split if len(once) == 1 else f"{split}/{task}"), samples


def _of_samples(samples: SampleDataset) -> dict[str, Any]:
    own = getattr(getattr(samples, "samples", samples), "fingerprint", None)  # of packs, whose truth may be far away
    looked = own() if own else [_looked_at(samples, index) for index in _evenly(len(samples), LOOKED_AT)]
    names = samples.vocabulary.names
    return {"images": len(samples), "names": len(names), "hash": _short([names, looked])}


def _evenly(length: int, count: int) -> list[int]:
    return sorted({place * (length - 1) // max(1, count - 1) for place in range(count)}) if length else []


def _looked_at(samples: SampleDataset, index: int) -> list[Any]:
    try:
        return _plain(samples.truth(index))
    except UserError:
        return []  # what is wrong with it is for the reading of it to tell


def _plain(truth: ImageTruth) -> list[Any]:
    """What is taught by a sample; boxes to a hundredth of a pixel, so that a machine's rounding is none of it."""
    boxes = [[round(side, 2) + 0.0 for side in box] for box in truth.boxes.double().tolist()]
    texts = [repr((caption.text, caption.phrases)) for caption in truth.captions]
    texts += [repr((question.text, question.phrases)) for question in truth.questions]
    answers = [list(question.answers) for question in truth.questions]
    return [truth.name, list(truth.image_size), boxes, truth.labels.tolist(), texts, answers]


def _files(values: Mapping[str, Any], prefix: str = "data.") -> Iterator[tuple[str, Path]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _files(value, f"{prefix}{key}.")
        elif isinstance(value, (str, Path)) and str(value) and "\n" not in str(value):
            path = Path(value).expanduser()
            if len(str(value)) < 4096 and path.is_file():
                yield prefix + key, path


def _of_file(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= WHOLE:
            digest.update(file.read())
        else:
            for place in range(BLOCKS):
                file.seek(place * (size - BLOCK) // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return {"bytes": size, "hash": digest.hexdigest()[:16]}


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
