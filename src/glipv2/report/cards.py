"""The headline numbers of a run, as cards, and what they mean to someone who has not met them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from glipv2.report.markup import Markup, element, join
from glipv2.report.run import RunFolder
from glipv2.report.scores import (
    HEADLINES,
    MAIN_SPLIT,
    ScoreName,
    is_defined,
    parsed,
    scored_splits,
    show_number,
    show_score,
    show_seconds,
)

UNSEEN = "unseen"  # the split of names that training never showed
RUN_CARDS = {
    "run/steps": "Steps",
    "run/seconds": "Time",
    "run/images_per_second": "Images/s",
    "run/parameters": "Parameters",
}


def headline(run: RunFolder) -> Markup:
    """Cards of the scores and of the run, then their meaning; says so when there are none."""
    if not run.metrics:
        return element("p", "No headline numbers: metrics.json is absent, empty or broken.", class_="absent")
    scores = [_score_card(run, score) for score in headline_scores(run.metrics)]
    about = [_card(title, element("div", show_fact(name, run.metrics[name]), class_="value"))
             for name, title in RUN_CARDS.items() if name in run.metrics]  # fmt: skip
    grids = [element("div", *cards, class_="cards") for cards in (scores, about) if cards]
    return join([*grids, _meaning(run)])


def headline_scores(metrics: Mapping[str, float]) -> list[ScoreName]:
    """The scores that head the page, of the first split that has each: AP numbers in their usual order, then others."""
    known = [score for score in parsed(metrics).values() if not score.category]
    headed = {(score.task, score.measure): score for score in sorted(known, key=lambda s: s.split, reverse=True)}
    order = {f"{kind}_ap{'_' if end else ''}{end}": place
             for kind in ("box", "mask") for place, end in enumerate(HEADLINES)}  # fmt: skip
    chosen = [score for score in headed.values() if score.measure in order or not score.is_share]
    return sorted(chosen, key=lambda s: (s.task, s.kind or "~", order.get(s.measure, 99), s.measure))


def value_of(metrics: Mapping[str, float], score: ScoreName, split: str) -> float | None:
    """The same measure of another split, None when it was not taken."""
    return metrics.get(replace(score, split=split).key)


def show_fact(name: str, value: float) -> str:
    """A number about the run itself, with its unit."""
    if name == "run/seconds":
        return show_seconds(value)
    if name == "run/parameters" and value >= 1e6:
        return f"{value / 1e6:.1f} M"
    return f"{value:.1f}" if name == "run/images_per_second" else show_number(value)


def _score_card(run: RunFolder, score: ScoreName) -> Markup:
    """The main split large; the other splits beside it, in the main card as large."""
    values = {split: value for split in scored_splits(run.metrics)
              if (value := value_of(run.metrics, score, split)) is not None}  # fmt: skip
    shown = [(split or MAIN_SPLIT, show_score(score, value), value) for split, value in values.items()]
    if score.measure in ("box_ap", "mask_ap"):
        numbers = [element("div", _value(text, value), element("div", split, class_="beside"))
                   for split, text, value in shown]  # fmt: skip
        return _card(score.title, element("div", *numbers, class_="pair"), "card hero")
    (first, text, value), *others = shown
    lines = [f"{split} {text}" for split, text, _ in others] or ([first] if first != MAIN_SPLIT else [])
    return _card(score.title, join([_value(text, value), *(element("div", line, class_="beside") for line in lines)]))


def _value(text: str, exact: float) -> Markup:
    return element("div", text, class_="value", title=f"{exact:g}")


def _card(title: str, content: Markup, class_: str = "card") -> Markup:
    return element("div", element("h3", title), content, class_=class_)


def _meaning(run: RunFolder) -> Markup:
    scores = headline_scores(run.metrics)
    kinds = [kind for kind in ("box", "mask") if any(score.kind == kind for score in scores)]
    parts = [_precision_meaning(kinds)] if kinds else []
    splits = scored_splits(run.metrics)
    if UNSEEN in splits and kinds:
        parts.append(_unseen_meaning(run, kinds[0]))
    if any(score.is_share and not is_defined(score, value) for score, value in _valued(run)):
        parts.append(
            element("p", "A dash: undefined, since there was nothing of that kind to find.", class_="explained")
        )
    return join(parts)


def _valued(run: RunFolder) -> list[tuple[ScoreName, float]]:
    return [(score, run.metrics[name]) for name, score in parsed(run.metrics).items() if not score.category]


def _precision_meaning(kinds: list[str]) -> Markup:
    """AP in three sentences."""
    names = " and ".join(f"{kind.capitalize()} AP" for kind in kinds)
    what = " or ".join({"box": "its box", "mask": "its mask"}[kind] for kind in kinds)
    return element(
        "p", element("b", names), " is average precision, from 0 (nothing found) to 100 (every object found, ", what,
        " tight, no false alarm): the mean over all classes and over ten overlaps (IoU 0.50 to 0.95) from which a find"
        " counts. ", element("b", "AP50"), " asks for an overlap of half, ", element("b", "AP75"),
        " of three quarters. Small, medium and large count only objects below 32², below 96² and from 96² pixels on.",
        class_="explained",
    )  # fmt: skip


def _unseen_meaning(run: RunFolder, kind: str) -> Markup:
    score = next(score for score in headline_scores(run.metrics) if score.kind == kind)
    seen, unseen = value_of(run.metrics, score, ""), value_of(run.metrics, score, UNSEEN)
    gap = ""
    if seen is not None and unseen is not None and is_defined(score, seen) and is_defined(score, unseen):
        gap = (
            f" Here the gap is {100 * abs(seen - unseen):.1f} points{' in favour of unseen' if unseen > seen else ''}."
        )
    return element(
        "p", element("b", "Unseen"), " scores names that training never showed: how close it comes to ",
        f"{MAIN_SPLIT} tells how well words carry over to new things.{gap}", class_="explained",
    )  # fmt: skip
