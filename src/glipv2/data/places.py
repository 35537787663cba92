"""Where things lie that nobody named: the images of a file, the file of another split, the answers to questions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from glipv2.data.formats import Format, Recognised, recognise_file
from glipv2.data.image_ids import number_of
from glipv2.errors import UserError

WORDS = {  # of file and folder names, by split
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "minival"),
    "test": ("test", "testing"),
}
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
MOST_FOLDERS = 500  # below a folder, looked into for images


def split_of(path: Path) -> str | None:
    """The split that is a word of a file's name, else all of its folder's ("val2017"); None for none or several."""
    own = {SPLIT_OF[word] for word in re.findall("[a-z]+", path.stem.lower()) if word in SPLIT_OF}
    if own:
        return own.pop() if len(own) == 1 else None
    words = re.findall("[a-z]+", path.parent.name.lower())
    return SPLIT_OF.get(words[0]) if len(words) == 1 else None


def sibling(path: Path, split: str) -> Path | None:
    """The file that is named as this one but for the word of its split, where there is just one."""
    own = split_of(path)
    there = [other for other in _renamed(path, own, split) if other.is_file()] if own else []
    return there[0] if len(set(there)) == 1 else None


def _renamed(path: Path, own: str, split: str) -> Iterator[Path]:
    for old in WORDS[own]:
        for new in WORDS[split]:
            pattern = rf"(?<![a-z]){old}(?![a-z])"
            name = re.sub(pattern, new, path.name)
            inner = re.sub(pattern, new, path.parent.name)
            if name != path.name:
                yield path.with_name(name)
            if inner != path.parent.name:
                yield path.parent.with_name(inner) / name


def answers_of(found: Recognised) -> tuple[Path, Path | None]:
    """The files of questions and of answers, of which one is given; None where there are no answers beside them."""
    wanted, word, other = (
        (Format.ANSWERS, "questions", "annotations")
        if found.format is Format.QUESTIONS
        else (Format.QUESTIONS, "annotations", "questions")
    )
    beside = [
        path for path in sorted(found.path.parent.glob(f"*{other}*.json")) if split_of(path) == split_of(found.path)
    ]
    named = [path for path in beside if path.name == found.path.name.replace(word, other)] or beside
    fitting = [path for path in named if _is(path, wanted)]
    if len(fitting) > 1:
        told = ", ".join(path.name for path in fitting)
        raise UserError(f"{found.path}: several files have its {other}: {told}; name them with data=coco")
    if wanted is Format.QUESTIONS and not fitting:
        raise UserError(f"{found.path} has answers, but no *{other}*.json beside it asks; name both with data=coco")
    if wanted is Format.QUESTIONS:
        return fitting[0], found.path
    return found.path, fitting[0] if fitting else None


def _is(path: Path, format: Format) -> bool:
    try:
        return recognise_file(path).format is format
    except UserError:
        return False


def image_folder(found: Recognised, key: str) -> Path:
    """The nearest folder that holds the file's images; UserError, to be answered with `key`, for none or several."""
    if not found.images:
        raise UserError(f"{found.path} names no image to look for; set {key} to the folder of its images")
    first = found.path if found.path.is_dir() else found.path.parent
    name = found.images[0] if isinstance(found.images[0], int) else found.images[0][0]
    looked = 0
    for base in (first, first.parent, first.parent.parent):
        places = list(_below(base))
        looked += len(places)
        holding = [place for place in places if all(_held(place, image) for image in found.images)]
        wanted = [place for place in holding if split_of(place / "image") == split_of(found.path) is not None]
        files = {_held(place, found.images[0]): place for place in reversed(wanted or holding)}
        if len(files) > 1:
            told = " and ".join(map(str, list(files.values())[::-1][:2]))
            raise UserError(f"{found.path}: both {told} hold its image {name!r}; set {key} to the right one")
        if files:
            return next(iter(files.values()))
    raise UserError(
        f"{found.path}: no folder near it holds its image {name!r} "
        f"(looked into {looked} folders in and beside {first}); set {key} to the folder"
    )


def _below(base: Path) -> Iterator[Path]:
    """A folder, what images are usually kept in there, and the folders just below those."""
    for name in ("", "images", "JPEGImages", "image", "img", "imgs"):
        place = base / name
        if place.is_dir():
            yield place
            folders = sorted(own for own in place.iterdir() if own.is_dir() and not own.name.startswith("."))
            yield from folders[:MOST_FOLDERS]


def _held(folder: Path, image: tuple[str, ...] | int) -> Path | None:
    """The image's own file, wherever links lead to it."""
    if isinstance(image, int):
        paths = [path for path in sorted(folder.glob(f"*{image}.*")) if number_of(path.name) == image]
    else:
        paths = [folder / name for name in image]
    return next((path.resolve() for path in paths if path.is_file()), None)
