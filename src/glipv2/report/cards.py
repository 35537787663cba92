"""The headline numbers of a run, as cards, and what they mean to someone who has not met them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.run import RunFolder
from glipv2.report.scores import (
    MAIN_SPLIT,
    ScoreName,
    is_defined,
    parsed,
    scored_splits,
    show_number,
    show_score,
    show_seconds,
    task_order,
)

UNSEEN = "unseen"  # the split of names that training never showed
KINDS = ("mask", "box", "")  # masks first: a task that has both is judged by them
RUN_CARDS = {
    "run/steps": "Steps",
    "run/seconds": "Time",
    "run/images_per_second": "Images/s",
    "run/parameters": "Parameters",
}


def headline(run: RunFolder) -> Markup:
    """Cards of the scores of each task and of the run, then their meaning; says so when there are none."""
    if not run.metrics:
        return element("p", "No headline numbers: metrics.json is absent, empty or broken.", class_="absent")
    scores = headline_scores(run.metrics)
    tasks = list(dict.fromkeys(score.task for score in scores))
    parts: list[Markup] = []
    for task in tasks:
        if len(tasks) > 1:
            parts.append(element("h3", task_title(task)))
        parts.append(_cards([_score_card(run, score) for score in scores if score.task == task]))
    about = [_card(title, element("div", show_fact(name, run.metrics[name]), class_="value"))
             for name, title in RUN_CARDS.items() if name in run.metrics]  # fmt: skip
    if about:
        parts += [element("h3", "Run")] if len(tasks) > 1 else []
        parts.append(_cards(about))
    return join([*parts, _meaning(run)])


def headline_scores(metrics: Mapping[str, float]) -> list[ScoreName]:
    """The scores that head the page, task by task, of the first split that has each, in their usual order."""
    known = [score for score in parsed(metrics).values() if not score.category and score.place is not None]
    headed = {(score.task, score.measure): score for score in sorted(known, key=lambda s: s.split, reverse=True)}
    tasks = {task: place for place, task in enumerate(task_order(metrics))}
    return sorted(headed.values(), key=lambda s: (tasks[s.task], KINDS.index(s.kind), s.place or 0, s.measure))


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


def _cards(cards: list[Markup]) -> Markup:
    return element("div", *cards, class_="cards")


def _score_card(run: RunFolder, score: ScoreName) -> Markup:
    """The main split large; the other splits beside it, in the main card as large and with their baselines."""
    values = {split: value for split in scored_splits(run.metrics)
              if (value := value_of(run.metrics, score, split)) is not None}  # fmt: skip
    shown = [(split or MAIN_SPLIT, show_score(score, value), value) for split, value in values.items()]
    if score.is_main:
        numbers = [element("div", _value(text, value), element("div", split, class_="beside"),
                           *_baselines(run, replace(score, split="" if split == MAIN_SPLIT else split)))
                   for split, text, value in shown]  # fmt: skip
        return _card(score.title, element("div", *numbers, class_="pair"), "card hero")
    (first, text, value), *others = shown
    lines = [f"{split} {text}" for split, text, _ in others] or ([first] if first != MAIN_SPLIT else [])
    return _card(score.title, join([_value(text, value), *(element("div", line, class_="beside") for line in lines)]))


def _baselines(run: RunFolder, score: ScoreName) -> list[Markup]:
    known = [(own, run.metrics[own.key]) for own in score.baselines if own.key in run.metrics]
    return [element("div", f"{own.title} {show_score(own, value)}", class_="beside") for own, value in known]


def _value(text: str, exact: float) -> Markup:
    return element("div", text, class_="value", title=f"{exact:g}")


def _card(title: str, content: Markup, class_: str = "card") -> Markup:
    return element("div", element("h3", title), content, class_=class_)


def _meaning(run: RunFolder) -> Markup:
    scores = headline_scores(run.metrics)
    kinds = [kind for kind in ("box", "mask") if any(score.kind == kind for score in scores)]
    parts = [_precision_meaning(kinds)] if kinds else []
    told = dict.fromkeys((score.title, score.known.meaning) for score in scores if score.known and score.known.meaning)
    parts += [element("p", element("b", title), meaning, class_="explained") for title, meaning in told]
    main = [score for score in scores if score.is_main]
    if main and UNSEEN in scored_splits(run.metrics):
        parts.append(_unseen_meaning(run, main[0]))
    if any(not is_defined(score, value) for score, value in _valued(run) if score.kind or score.known):
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


def _unseen_meaning(run: RunFolder, score: ScoreName) -> Markup:
    seen, unseen = value_of(run.metrics, score, ""), value_of(run.metrics, score, UNSEEN)
    gap = ""
    if seen is not None and unseen is not None and is_defined(score, seen) and is_defined(score, unseen):
        size = f"{100 * abs(seen - unseen):.1f} points" if score.is_share else show_number(abs(seen - unseen))
        several = len({own.task for own in headline_scores(run.metrics)}) > 1
        of = f" in {task_title(score.task).lower()}, {score.title}," if several else ""
        gap = f" Here the gap{of} is {size}{' in favour of unseen' if unseen > seen else ''}."
    return element(
        "p", element("b", "Unseen"), " scores names that training never showed: how close it comes to ",
        f"{MAIN_SPLIT} tells how well words carry over to new things.{gap}", class_="explained",
    )  # fmt: skip
