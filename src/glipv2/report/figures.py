"""Galleries and photographs as figures of the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.photographs import Found, Photograph
from glipv2.report.pictures import byte_limit, inline_picture
from glipv2.report.run import RunFolder
from glipv2.report.scores import task_order

MOST_OF_ONE_GALLERY, LEAST_OF_ONE_GALLERY = 24, 4
MOST_OF_A_PAGE = 160  # pictures; more would have to be too small to see anything
NAMED_OBJECTS = 12  # objects listed under a photograph


@dataclass(frozen=True)
class PictureBudget:
    """How many pictures of each gallery a page shows, and how many bytes each may take."""

    shown: int
    bytes_each: int

    @classmethod
    def of(cls, runs: Sequence[RunFolder]) -> PictureBudget:
        """An equal share for every gallery of every run."""
        sizes = [len(pictures) for run in runs for pictures in (*run.galleries.values(), run.photographs) if pictures]
        shown = min(MOST_OF_ONE_GALLERY, max(LEAST_OF_ONE_GALLERY, MOST_OF_A_PAGE // max(1, len(sizes))))
        return cls(shown, byte_limit(sum(min(shown, size) for size in sizes)))


def galleries(run: RunFolder, budget: PictureBudget) -> Markup:
    """The pictures of each split, truth left and prediction right; says so when there are none."""
    if not run.galleries:
        return element("p", "No gallery: the folder gallery/ is absent or empty.", class_="absent")
    tasks = task_order([*run.metrics, *run.curves])
    named = {folder: split_and_task(folder.partition("/")[0], tasks) for folder in run.galleries}
    places = {task: place for place, task in enumerate(["", *tasks])}
    parts = [element("p", _telling(run), class_="soft")]
    # Task by task, the split scored while training first, the worst pictures at once.
    for folder in sorted(named, key=lambda f: (places[named[f][1]], named[f][0] != run.split, named[f][0], _part(f))):
        pictures = run.galleries[folder]
        figures = [_figure(path, _title(path), f"truth left, prediction right: {_title(path)}", Markup(), budget)
                   for path in pictures[: budget.shown]]  # fmt: skip
        split, task = named[folder]
        title = f"{task_title(task)}, {split}" if task else split
        base, _, part = folder.partition("/")
        several = any(f"{base}/{own}" in run.galleries for own in EXTREME)
        title += f": {EXTREME.get(part, 'the first')}" if several else ""
        parts += [
            element("h3", title, _count(len(figures), len(pictures))),
            element("div", *figures, class_="pictures pairs"),
        ]
    return join(parts)


EXTREME = {"worst": "the worst", "best": "the best"}


def _telling(run: RunFolder) -> str:
    told = "Truth on the left, prediction on the right."
    if any("/" in folder for folder in run.galleries):
        told += (
            " The worst and best are chosen by the picture's own score, from 0 to 1, which stands before its name:"
            " average precision at IoU 0.5, share of phrases found, accuracy of answers, or ROUGE-L of the caption."
        )
    return told


def _part(folder: str) -> int:
    """The worst first, then the best, then those that merely come first."""
    return ["worst", "best", ""].index(folder.partition("/")[2])


def split_and_task(folder: str, tasks: Sequence[str]) -> tuple[str, str]:
    """ "val_vqa" as ("val", "vqa"); of a folder that names none of the tasks the second is ""."""
    found = [task for task in tasks if folder.endswith(f"_{task}") and len(folder) > len(task) + 1]
    longest = max(found, key=len, default="")
    return (folder.removesuffix(f"_{longest}"), longest) if longest else (folder, "")


def photographs(run: RunFolder, budget: PictureBudget) -> Markup:
    """Photographs with the objects found in each; says so when there are none."""
    if not run.photographs:
        return element("p", "No predictions on photographs: predictions/ holds none.", class_="absent")
    shown = run.photographs[: budget.shown]
    count = len(run.photographs)
    note = element("p", f"The first {len(shown)} of {count}.", class_="soft") if len(shown) < count else Markup()
    return join([note, element("div", *(_photograph(photo, budget) for photo in shown), class_="pictures")])


def _photograph(photo: Photograph, budget: PictureBudget) -> Markup:
    words = Markup() if photo.found is None else join([*map(_saying, photo.said), _objects(photo.found, photo.said)])
    if photo.picture is None:
        return element("figure", element("figcaption", element("b", photo.name), words))
    return _figure(photo.picture, photo.name, f"predictions on {photo.name}", words, budget)


def _saying(said: str) -> Markup:
    return element("div", said, class_="said")


def _objects(found: Sequence[Found], said: Sequence[str]) -> Markup:
    if not found:
        return Markup() if said else element("div", "nothing found")
    chips = [element("li", _words(one)) for one in found[:NAMED_OBJECTS]]
    more = [element("li", f"and {len(found) - len(chips)} more", class_="more")] if len(found) > len(chips) else []
    return element("ul", *chips, *more, class_="found")


def _words(one: Found) -> str:
    return f"{one.name}: not found" if one.score is None else f"{one.name} {one.score:.2f}"


def _figure(path: Path, title: str, alt: str, words: Markup, budget: PictureBudget) -> Markup:
    picture = inline_picture(path, budget.bytes_each)
    if picture is None:
        return element("figure", element("figcaption", element("b", title), " could not be read as a picture", words))
    image = element("img", src=picture.uri, alt=alt, width=picture.width, height=picture.height)
    return element(
        "figure",
        element("button", image, type="button", aria_label="enlarge or reduce"),
        element("figcaption", element("b", title), words),
    )


def _title(path: Path) -> str:
    """ "03_two_stars.png" as "two_stars": the number only keeps the order. A bare number becomes "image 7".

    "03_0.50_two_stars.png", one of the best or worst, as "0.50 · two_stars".
    """
    name = re.sub(r"^\d+_(?=.)", "", path.stem)
    scored = re.fullmatch(r"([01]\.\d\d)_(.+)", name) if path.parent.name in EXTREME else None
    score, name = (f"{scored[1]} · ", scored[2]) if scored else ("", name)
    return score + (f"image {name}" if name.isdecimal() else name)


def _count(shown: int, all_of_them: int) -> Markup:
    words = (
        f"{shown} of {all_of_them} pictures" if shown < all_of_them else f"{shown} picture{'s' if shown != 1 else ''}"
    )
    return element("small", words)
