"""Runs that differ by their seed alone: their means, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev

from glipv2.report.cards import headline_scores
from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.run import RunFolder, flat_config
from glipv2.report.scores import MAIN_SPLIT, ScoreName, is_defined, scored_splits, show_score
from glipv2.report.tables import sheet

# Keys that do not change what is learned, or only by chance.
BY_CHANCE = ("seed", "output", "name", "gallery", "resume", "tracking.", "trainer.progress", "trainer.save_")
# Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom.
QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def interval(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of the mean (Student's t); None for fewer than two values."""
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    quantile = QUANTILES[freedom - 1] if freedom <= len(QUANTILES) else 1.96 + 2.4 / freedom
    return quantile * stdev(values) / math.sqrt(len(values))


def seed_groups(runs: Mapping[str, RunFolder]) -> list[dict[str, RunFolder]]:
    """Runs with the same config but for the seed, two or more of them with numbers."""
    groups: dict[tuple[tuple[str, str], ...], dict[str, RunFolder]] = {}
    for name, run in runs.items():
        if run.config and run.metrics:
            values = flat_config(run.config).items()
            same = tuple(sorted((key, value) for key, value in values if not key.startswith(BY_CHANCE)))
            groups.setdefault(same, {})[name] = run
    return [group for group in groups.values() if len(group) > 1]


def seed_table(runs: Mapping[str, RunFolder], varied: Sequence[str] = ()) -> Markup:
    """A row for each group of seeds, "" where there is none. varied: config keys by which groups are told apart."""
    groups = seed_groups(runs)
    if not groups:
        return Markup()
    scores = _scores(groups)
    several = len({score.task for score in scores}) > 1
    told = [key for key in varied if not key.startswith(BY_CHANCE)]
    heads = [element("th", "Runs", scope="col"), *(element("th", key, scope="col") for key in told)]
    for score in scores:
        title = f"{task_title(score.task)}: {score.title}" if several else score.title
        heads.append(element("th", f"{title}, {score.split or MAIN_SPLIT}", scope="col", class_="number"))
    rows = []
    for group in groups:
        config = flat_config(next(iter(group.values())).config)
        cells = [element("td", config.get(key, "–")) for key in told]
        cells += [_cell(score, group) for score in scores]
        rows.append(element("tr", element("th", f"{len(group)} seeds", scope="row", title=", ".join(group)), *cells))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="many")
    note = element(
        "p", "Mean over seeds ± half of the 95 % confidence interval of the mean (Student's t, so that few seeds make"
        " it wide). Point at a number to see each seed's.", class_="soft",
    )  # fmt: skip
    return join([element("h3", "Over seeds"), note, sheet(table, "means over seeds")])


def _scores(groups: Sequence[Mapping[str, RunFolder]]) -> list[ScoreName]:
    """Main numbers of every task and split."""
    found: dict[str, ScoreName] = {}
    for group in groups:
        for run in group.values():
            for score in headline_scores(run.metrics):
                for split in scored_splits(run.metrics) if score.is_main else ():
                    own = replace(score, split=split)
                    if own.key in run.metrics:
                        found.setdefault(own.key, own)
    return list(found.values())


def _cell(score: ScoreName, group: Mapping[str, RunFolder]) -> Markup:
    known = {name: run.metrics[score.key] for name, run in group.items() if score.key in run.metrics}
    values = [value for value in known.values() if is_defined(score, value)]
    if not values:
        return element("td", "–", class_="number")
    half = interval(values)
    words = show_score(score, mean(values)) + ("" if half is None else f" ± {show_score(score, half)}")
    counted = "" if len(values) == len(group) else f" ({len(values)} of {len(group)})"
    each = ", ".join(f"{name}: {show_score(score, value)}" for name, value in known.items())
    return element("td", words + counted, class_="number", title=each)
