"""Tables of a run's numbers: by class, and all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.run import RunFolder
from glipv2.report.scores import MAIN_SPLIT, ScoreName, is_defined, parsed, scored_splits, show_score, task_order

BAR_MEASURES = ("box_ap", "mask_ap", "accuracy", "recall_1")


def task_tables(run: RunFolder) -> Markup:
    """For each task a table of its scores by split, then sortable ones by class or kind, best first."""
    tasks = task_order(run.metrics)
    if not tasks:
        return element("p", "No tables: metrics.json holds no scores.", class_="absent")
    parts = []
    for task in tasks:
        tables = [_split_table(run, task), *_class_tables(run, task)]
        parts += [element("h3", task_title(task)), element("div", *tables, class_="sheets")]
    return join(parts)


def _split_table(run: RunFolder, task: str) -> Markup:
    """Every score of a task that is not of one class, a column a split."""
    scores = [score for score in parsed(run.metrics).values() if score.task == task and not score.category]
    splits = [split for split in scored_splits(run.metrics) if any(score.split == split for score in scores)]
    measures = {score.measure: score for score in scores}
    heads = [element("th", "Score", scope="col")]
    heads += [element("th", split or MAIN_SPLIT, scope="col", class_="number") for split in splits]
    rows = []
    for measure, score in measures.items():
        keys = [ScoreName(task, split, measure, "").key for split in splits]
        cells = [element("td", show_score(score, run.metrics.get(key)), class_="number") for key in keys]
        rows.append(element("tr", element("th", score.title, scope="row"), *cells))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    own = sheet(table, f"scores of {task_title(task)}")
    return element("div", element("h4", "all scores", element("small", f"{len(rows)}")), own)


def sheet(table: Markup, label: str) -> Markup:
    """A table that scrolls in its frame; focusable, so that a keyboard can scroll it."""
    return element("div", table, class_="sheet", tabindex="0", role="region", aria_label=label)


def _class_tables(run: RunFolder, task: str) -> list[Markup]:
    scores = [score for score in parsed(run.metrics).values()
              if score.task == task and score.category and score.measure in BAR_MEASURES]  # fmt: skip
    splits = sorted({score.split for score in scores})
    return [_class_table(run, split, task, [score for score in scores if score.split == split]) for split in splits]


def number_table(metrics: Mapping[str, float]) -> Markup:
    """Every number that is not of one class, as the file gives it, folded away."""
    scores = parsed(metrics)
    names = [name for name in metrics if name not in scores or not scores[name].category]
    rows = [element("tr", element("th", name, scope="row"), element("td", f"{metrics[name]:.10g}", class_="number"))
            for name in names]  # fmt: skip
    heads = element("tr", element("th", "Name", scope="col"), element("th", "Value", scope="col", class_="number"))
    table = element("table", element("thead", heads), element("tbody", *rows))
    summary = element("summary", "Every number as recorded", element("small", f"{len(names)} of metrics.json"))
    return element("details", summary, element("div", table, class_="sheet open"))


def _class_table(run: RunFolder, split: str, task: str, scores: Sequence[ScoreName]) -> Markup:
    measures = [measure for measure in BAR_MEASURES if any(score.measure == measure for score in scores)]
    values = {(score.category, score.measure): run.metrics[score.key] for score in scores}
    classes = sorted({score.category for score in scores})
    classes.sort(key=lambda category: -values.get((category, measures[0]), -1.0))
    titles = {score.measure: score.title for score in scores}
    one, several = ("class", "classes") if any(score.kind for score in scores) else ("kind", "kinds")
    heads = [_sort_heading(one.capitalize(), "")]
    for index, measure in enumerate(measures):
        heads += [_sort_heading(titles[measure], "number", "descending" if index == 0 else None), element("td")]
    rows = []
    for category in classes:
        cells = [cell for m in measures for cell in _bar_cells(ScoreName(task, split, m, category), values)]
        rows.append(element("tr", element("th", _class_name(category, one), scope="row"), *cells))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="sortable")
    name = split or MAIN_SPLIT
    heading = element("h4", name, element("small", f"{len(classes)} {one if len(classes) == 1 else several}"))
    return element("div", heading, sheet(table, f"{titles[measures[0]]} by {one}, {name}"))


def _class_name(category: str, one: str) -> str:
    """Kinds have paths, as "question/count"; what a class is called is left alone."""
    return category if one == "class" else category.replace("/", ": ")


def _sort_heading(title: str, class_: str, order: str | None = None) -> Markup:
    button = element("button", title, type="button")
    return element("th", button, scope="col", class_=class_ or None, aria_sort=order)


def _bar_cells(score: ScoreName, values: Mapping[tuple[str, str], float]) -> tuple[Markup, Markup]:
    value = values.get((score.category, score.measure), -1.0)
    defined = is_defined(score, value)
    number = element(
        "td", show_score(score, value), class_="number", data_value=f"{value:g}" if defined else "-1",
        title=f"{value:g}" if defined else "undefined",
    )  # fmt: skip
    bar = element("i", style=f"width:{min(100.0, 100 * value):.1f}%") if defined else ""
    return number, element("td", bar, class_="bar")
