"""Tables of a run's numbers: by class, and all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from glipv2.report.markup import Markup, element
from glipv2.report.run import RunFolder
from glipv2.report.scores import MAIN_SPLIT, ScoreName, is_defined, parsed, show_score

BAR_MEASURES = ("box_ap", "mask_ap")


def class_tables(run: RunFolder) -> Markup:
    """One sortable table of AP by class for each split that was scored by class, best classes first."""
    scores = [score for score in parsed(run.metrics).values() if score.category and score.measure in BAR_MEASURES]
    groups = sorted({(score.split, score.task) for score in scores})
    if not groups:
        return element("p", "No table of classes: metrics.json holds no AP by class.", class_="absent")
    tables = [_class_table(run, split, task, [s for s in scores if (s.split, s.task) == (split, task)])
              for split, task in groups]  # fmt: skip
    return element("div", *tables, class_="sheets")


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
    heads = [_sort_heading("Class", "")]
    for index, measure in enumerate(measures):
        heads += [_sort_heading(titles[measure], "number", "descending" if index == 0 else None), element("td")]
    rows = []
    for category in classes:
        cells = [cell for m in measures for cell in _bar_cells(ScoreName(task, split, m, category), values)]
        rows.append(element("tr", element("th", category, scope="row"), *cells))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="sortable")
    name = split or MAIN_SPLIT
    heading = element("h3", name, element("small", f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}"))
    # Focusable, so that a keyboard can scroll it.
    sheet = element("div", table, class_="sheet", tabindex="0", role="region", aria_label=f"AP by class, {name}")
    return element("div", heading, sheet)


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
