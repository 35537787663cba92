"""Names and spellings of the numbers in metrics.json."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from glipv2.report.measures import MEASURES, Measure, task_title

PRECISION_MEASURE = re.compile(r"(box|mask)_a[pr](_[a-z0-9]+)*")  # box_ap, box_ap_50, mask_ap_small, box_ar_100 …
MAIN_SPLIT = "val"  # its scores carry no split in their names
RATE = "lr-"  # how Lightning's LearningRateMonitor begins its names: "lr-AdamW", "lr-AdamW/pg1"
NOT_TASKS = frozenset({"run", "train", "model", "time", "gradients"})  # first words of names that are no score

HEADLINES = ("", "50", "75", "small", "medium", "large")  # endings of the AP numbers that head the page, in order
PRECISION_ORDER = {
    f"{kind}_ap{'_' if end else ''}{end}": place for kind in ("box", "mask") for place, end in enumerate(HEADLINES)
}


@dataclass(frozen=True)
class ScoreName:
    """A metric's name taken apart: `<task>/[<split>/]<measure>[/<category>]`.

    `split` is "" for that of `MAIN_SPLIT`, `category` is "" for the mean over all.
    """

    task: str
    split: str
    measure: str
    category: str

    @property
    def key(self) -> str:
        """The metric's name, put together again."""
        return "/".join(word for word in (self.task, self.split, self.measure, self.category) if word)

    @property
    def kind(self) -> str:
        """ "box" or "mask" for average precision and recall, "" for any other measure."""
        return self.measure.split("_")[0] if PRECISION_MEASURE.fullmatch(self.measure) else ""

    @property
    def known(self) -> Measure | None:
        """What is known of the measure besides average precision and recall."""
        return MEASURES.get(self.measure)

    @property
    def is_share(self) -> bool:
        """Whether the number lies in [0, 1] and is shown times 100, as papers print it."""
        return self.known.share if self.known else bool(self.kind)

    @property
    def place(self) -> int | None:
        """Where it stands among a task's headline numbers, 0 as the main one; None is in the tables only."""
        if self.known:
            return self.known.place
        return PRECISION_ORDER.get(self.measure) if self.kind else len(HEADLINES)

    @property
    def is_main(self) -> bool:
        """Whether it is one of the numbers for which a task is judged."""
        return self.place == 0

    @property
    def baselines(self) -> list[ScoreName]:
        """What can be had without looking, of the same task and split."""
        return [replace(self, measure=measure) for measure in (self.known.baselines if self.known else ())]

    @property
    def title(self) -> str:
        """The measure as people write it: "Box AP", "Box AP50", "Mask AP small", "CIDEr-D"."""
        if self.known:
            return self.known.title
        if not self.kind:
            return self.measure.replace("_", " ")
        kind, short, *rest = self.measure.split("_")
        name = f"{kind.capitalize()} {short.upper()}"
        return name + (rest[0] if rest and rest[0].isdigit() else "".join(f" {word}" for word in rest))


def parse_score(name: str) -> ScoreName | None:
    """The parts of a metric's name, None when it names no score. A category may itself hold slashes."""
    words = name.split("/")
    if len(words) < 2 or words[0] in NOT_TASKS or name.startswith(RATE):
        return None
    for place, word in enumerate(words[1:], start=1):
        if PRECISION_MEASURE.fullmatch(word) or word in MEASURES:
            return ScoreName(words[0], "/".join(words[1:place]), word, "/".join(words[place + 1 :]))
    # Of other measures only the plain form is known: a third part might be a split or a category.
    return ScoreName(words[0], "", words[1], "") if len(words) == 2 else None


def parsed(names: Iterable[str]) -> dict[str, ScoreName]:
    """The names that are scores, with their parts, in the order given."""
    return {name: score for name in names if (score := parse_score(name)) is not None}


def task_order(names: Iterable[str]) -> list[str]:
    """The tasks that were scored: those that only sum up others first, then in the order of the names."""
    measures: dict[str, set[str]] = {}
    for score in parsed(names).values():
        measures.setdefault(score.task, set()).add(score.measure)
    return sorted(measures, key=lambda task: measures[task] != {"mean"})


def titled(score: ScoreName, tasks: Sequence[str]) -> str:
    """A score's title, with its task's where there are several."""
    return f"{task_title(score.task)}: {score.title}" if len(tasks) > 1 else score.title


def scored_splits(metrics: Mapping[str, float]) -> list[str]:
    """The splits that were scored, the main one ("") first."""
    return sorted({score.split for score in parsed(metrics).values()})


def show_score(score: ScoreName, value: float | None) -> str:
    """A score for people: shares times 100 with one decimal, a dash where it is undefined (-1) or unknown."""
    if value is None or not is_defined(score, value):
        return "–"
    if score.is_share:
        return f"{100 * value:.1f}"
    return show_number(round(value, 3) if score.known else value)


def is_defined(score: ScoreName, value: float) -> bool:
    """False for NaN, infinities, and the -1 by which a metric says that there was nothing to measure."""
    return math.isfinite(value) and not ((score.is_share or score.known) and value < 0)


def show_number(value: float) -> str:
    """Any number in few characters: whole ones with thin thousands, others with four digits."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4g}"


def show_seconds(seconds: float) -> str:
    """A duration: "48 s", "12.5 min", "3 h 20 min"."""
    if not math.isfinite(seconds) or seconds < 0:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.1f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"
