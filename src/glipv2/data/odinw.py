"""The released YAML files of ODinW ("object detection in the wild"): one a data set, read without running anything."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from glipv2.errors import UserError, nearest


@dataclass(frozen=True)
class OdinwFile:
    """One data set: where its images and boxes are (below `root`), its names and how they are asked for.

    name: short, unique among those read together. categories: COCO records that replace the file's own, None
    where there are none. has_captions: whether it words its prompt (CAPTION_PROMPT, see `read_wordings`).
    """

    name: str
    source: Path
    annotations: Path
    images: Path
    categories: tuple[Mapping[str, Any], ...] | None
    has_captions: bool

    def missing(self) -> list[Path]:
        """What it needs and is not there."""
        lacking = [] if self.annotations.is_file() else [self.annotations]
        return lacking if self.images.is_dir() else [*lacking, self.images]


def read_odinw(folder: Path | str, root: Path | str, split: str | None = None) -> list[OdinwFile]:
    """Every *.yaml of a folder, in the order of their names; split: default the one under DATASETS.TEST.

    UserError for a file that does not say what it tests.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"protocol.configs={folder}: no such folder; give the one that holds the released YAML files")
    paths = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if not paths:
        raise UserError(f"protocol.configs={folder}: holds no YAML file; give the folder of the released ones")
    read = [_read(path, Path(root), split) for path in paths]
    names = _short_names([parts for _, parts in read], paths)
    return [OdinwFile(name, *fields) for name, (fields, _) in zip(names, read, strict=True)]


Fields = tuple[Path, Path, Path, tuple[Mapping[str, Any], ...] | None, bool]


def _read(path: Path, root: Path, split: str | None) -> tuple[Fields, tuple[str, ...]]:
    """All but the name of a data set, and the parts of its annotations' path."""
    datasets = _mapping(_plain_yaml(path), "DATASETS", path)
    register = _mapping(datasets, "REGISTER", path)
    chosen = split or _tested(datasets, path)
    if chosen not in register:
        raise UserError(f"{path}: no split '{chosen}' in DATASETS.REGISTER; {nearest(chosen, register)}")
    entry = _mapping(register, chosen, path)
    files = [entry.get(key) for key in ("ann_file", "img_dir")]
    if not all(isinstance(value, str) and value for value in files):
        raise UserError(f"{path}: DATASETS.REGISTER.{chosen} has no ann_file and img_dir")
    annotations, images = (_below(root, str(value), path) for value in files)
    categories = _records(datasets, "OVERRIDE_CATEGORY", path)
    return (path, annotations, images, categories, bool(datasets.get("CAPTION_PROMPT"))), PurePosixPath(
        str(files[0])
    ).parts


def _plain_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{path} can't be read as YAML: {' '.join(str(error).split())[:160]}") from None


def _mapping(content: Any, key: str, path: Path) -> Mapping[str, Any]:
    value = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(value, Mapping):
        raise UserError(f"{path}: expected {key} with entries below it, as in the released ODinW files")
    return value


def _tested(datasets: Mapping[str, Any], path: Path) -> str:
    """The one split under TEST, which is a YAML list or a Python tuple written as a text."""
    value = datasets.get("TEST")
    splits = _literal(value, f"{path}: DATASETS.TEST") if isinstance(value, str) and value[:1] in "([" else value
    splits = [splits] if isinstance(splits, str) else splits
    if not isinstance(splits, Sequence) or len(splits) != 1 or not isinstance(splits[0], str):
        raise UserError(f"{path}: DATASETS.TEST is {value!r}, expected one split; or set protocol.split")
    return splits[0]


def _records(datasets: Mapping[str, Any], key: str, path: Path) -> tuple[Mapping[str, Any], ...] | None:
    value = datasets.get(key)
    if value is None or value == "":
        return None
    value = _literal(value, f"{path}: DATASETS.{key}") if isinstance(value, str) else value
    if not isinstance(value, list | tuple) or not all(isinstance(record, Mapping) for record in value):
        raise UserError(f"{path}: DATASETS.{key} is {value!r:.80}, expected a list of records")
    return tuple(value) or None


def _literal(text: str, place: str) -> Any:
    """JSON, or Python's own spelling of lists, tuples, texts and numbers; nothing is run."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise UserError(f"{place} is neither JSON nor a plain Python list: {text[:80]}") from None


def _below(root: Path, name: str, path: Path) -> Path:
    """A released path, under the root whether or not that already ends with its first folder."""
    parts = PurePosixPath(name).parts
    if PurePosixPath(name).is_absolute() or ".." in parts:
        raise UserError(f"{path}: the path '{name}' leads out of protocol.root")
    inside = Path(*parts[1:]) if root.name == parts[0] and len(parts) > 1 else Path(*parts)
    return root / inside


def _short_names(paths: Sequence[tuple[str, ...]], sources: Sequence[Path]) -> list[str]:
    """ "Aquarium" of odinw/Aquarium/…; with the next folder where several share one; the file's name otherwise."""
    inner = [parts[parts.index("odinw") + 1 : -1] if "odinw" in parts else parts[:-1] for parts in paths]
    short = [parts[0] if parts else source.stem for parts, source in zip(inner, sources, strict=True)]
    shared = Counter(short)
    longer = ["_".join(parts[:2]) if shared[name] > 1 else name for name, parts in zip(short, inner, strict=True)]
    repeated = Counter(longer)
    return [name if repeated[name] == 1 else source.stem for name, source in zip(longer, sources, strict=True)]
