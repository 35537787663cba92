"""What goes wrong, as diagnosis/ tells it: kinds of errors, precision by recall, what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glipv2.report.curves import line_chart
from glipv2.report.figures import split_and_task
from glipv2.report.markup import Markup, element, join
from glipv2.report.measures import task_title
from glipv2.report.run import RunFolder
from glipv2.report.scores import show_number, task_order
from glipv2.report.tables import sheet

KINDS = {
    "correct": "the right name, overlap (IoU) at least 0.5",
    "localisation": "the right name, but the overlap is only 0.1 to 0.5",
    "class": "the right place, but another name",
    "both": "near an object (overlap at least 0.1), with another name",
    "duplicate": "an object that a surer detection has found already",
    "background": "no object there",
    "missed": "an object that no detection means",
    "found": "the best box overlaps the phrase's own by 0.5 or more",
    "loose": "the best box overlaps it by 0.1 to 0.5",
    "elsewhere": "the best box is somewhere else",
    "no box": "no box at all",
}
GOOD = frozenset({"correct", "found"})
SHORT = {"localisation": "place", "background": "nothing there", "both": "class and place"}
MOST_NAMES, MOST_PAIRS, MOST_CLASSES = 12, 15, 60
RECALLS = 101


def mistakes(run: RunFolder) -> Markup:
    """A part for each task and split; says so when there are none."""
    tasks = task_order([*run.metrics, *run.curves])
    parts: list[Markup] = []
    places = {task: place for place, task in enumerate(["", *tasks])}
    named = {name: split_and_task(name, tasks) for name in run.diagnoses}
    for name in sorted(named, key=lambda n: (places.get(named[n][1], 0), named[n][0] != run.split, n)):
        split, task = named[name]
        content = _part(run.diagnoses[name])
        if content:
            parts += [element("h3", f"{task_title(task)}, {split}" if task else split), *content]
    if not parts:
        return element("p", "Not told: diagnosis/ is absent, empty or broken.", class_="absent")
    return join(parts)


def _part(diagnosis: Mapping[str, Any]) -> list[Markup]:
    kind = diagnosis.get("of")
    if kind == "detections":
        return _detections(diagnosis)
    if kind == "phrases":
        kinds = _counts(diagnosis.get("kinds"))
        return [element("div", _kind_table(kinds, f"{sum(kinds.values())} phrases"), class_="sheets")] if kinds else []
    return _answers(diagnosis) if kind == "answers" else []


# Detections


def _detections(diagnosis: Mapping[str, Any]) -> list[Markup]:
    kinds = _counts(diagnosis.get("kinds"))
    if not kinds:
        return []
    region = "masks" if diagnosis.get("region") == "mask" else "boxes"
    pairs = _pairs(diagnosis.get("confusion"), 2)
    charts = [chart] if (chart := _precision_chart(diagnosis.get("curves"), region)) else []
    sheets = [_kind_table(kinds, region), *([_pair_table(pairs)] if pairs else [])]
    by_class = {
        str(name): own for name, value in _mapping(diagnosis.get("by_class")).items() if (own := _counts(value))
    }
    charts += [_matrix(pairs, by_class)] if pairs else []
    parts = [element("p", _threshold(diagnosis), class_="soft"), element("div", *sheets, *charts, class_="sheets")]
    return [*parts, *([_class_table(by_class)] if by_class else [])]


def _threshold(diagnosis: Mapping[str, Any]) -> str:
    threshold, precision, recall = (_share(diagnosis.get(key)) for key in ("threshold", "precision", "recall"))
    objects = show_number(float(_count(diagnosis.get("objects"))))
    if threshold is None or precision is None or recall is None:
        return f"No detection is right, so there is no score from which they would be best taken; {objects} objects."
    return (
        f"Detections scored {threshold:.2f} or better, where F1 is best: {100 * precision:.1f} % of them are right, and"
        f" {100 * recall:.1f} % of {objects} objects are found."
    )


def _precision_chart(curves: Any, region: str) -> Markup | None:
    series = {}
    for name, values in _mapping(curves).items():
        if isinstance(values, list) and len(values) == RECALLS and all(isinstance(v, (int, float)) for v in values):
            series[f"IoU {name}"] = [(place / (RECALLS - 1), float(value)) for place, value in enumerate(values)]
    if not series:
        return None
    return line_chart(series, f"Precision by recall, {region}, mean of classes", x_label="recall", from_zero=True)


def _kind_table(kinds: Mapping[str, int], of: str) -> Markup:
    """Kinds with their numbers, a bar and what they mean."""
    most = max(kinds.values(), default=0) or 1
    rows = []
    for kind, count in kinds.items():
        bar = element("i", style=f"width:{100 * count / most:.1f}%", class_="good" if kind in GOOD else "bad")
        name = element("th", kind, element("small", KINDS.get(kind, "")), scope="row", class_="kind")
        rows.append(element("tr", name, element("td", show_number(count), class_="number"),
                            element("td", bar if count else "", class_="bar")))  # fmt: skip
    table = element("table", element("tbody", *rows))
    return _titled("kinds of errors", of, table)


def _pair_table(pairs: Sequence[tuple[tuple[str, ...], int]]) -> Markup:
    """The most frequent confusions."""
    shown = pairs[:MOST_PAIRS]
    most = shown[0][1]
    rows = []
    for words, count in shown:
        bar = element("i", style=f"width:{100 * count / most:.1f}%", class_="bad")
        cells = [element("td", word) for word in words]
        cells += [element("td", show_number(count), class_="number"), element("td", bar, class_="bar narrow")]
        rows.append(element("tr", *cells))
    titles = {2: ("is", "is called"), 3: ("question", "right", "answered")}[len(shown[0][0])]
    heads = [element("th", title, scope="col") for title in titles]
    heads += [element("th", "times", scope="col", class_="number"), element("td")]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows))
    return _titled("taken for", f"the {len(shown)} most frequent of {len(pairs)}", table)


def _matrix(pairs: Sequence[tuple[tuple[str, ...], int]], by_class: Mapping[str, Mapping[str, int]]) -> Markup:
    """True names down, given names across, of the names that are confused most."""
    totals: dict[str, int] = {}
    for (true, given), count in pairs:
        totals[true] = totals.get(true, 0) + count
        totals[given] = totals.get(given, 0) + count
    names = sorted(sorted(totals, key=lambda name: (-totals[name], name))[:MOST_NAMES])
    counts = dict(pairs)
    most = max((count for words, count in counts.items() if set(words) <= set(names)), default=1)
    heads = [element("td"), *(element("th", element("span", name), scope="col", class_="turned") for name in names)]
    heads += [element("th", element("span", "others"), scope="col", class_="turned"),
              element("th", element("span", "missed"), scope="col", class_="turned")]  # fmt: skip
    rows = []
    for true in names:
        own = by_class.get(true, {})
        cells = [_cell(own.get("correct", 0), 0) if given == true else _cell(counts.get((true, given), 0), most)
                 for given in names]  # fmt: skip
        others = sum(count for (first, given), count in counts.items() if first == true and given not in names)
        cells += [_cell(others, most), _cell(own.get("missed", 0), 0)]
        rows.append(element("tr", element("th", true, scope="row"), *cells))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="matrix")
    note = f"the {len(names)} names confused most; true names down, given names across"
    return _titled("confusion", note, table)


def _cell(count: int, most: int) -> Markup:
    """A number on a ground as strong as it is large; without `most` it is no error, and has none."""
    strength = round(75 * min(1.0, count / most) ** 0.7) if most and count else 0
    style = f"background:color-mix(in srgb,var(--bad) {strength}%,transparent)" if strength else None
    return element("td", show_number(count) if count else "·", class_="none" if not count else None, style=style)


def _class_table(by_class: Mapping[str, Mapping[str, int]]) -> Markup:
    """Kinds of errors of each class, folded away; those with most errors first."""
    kinds = list(dict.fromkeys(kind for own in by_class.values() for kind in own))
    heads = [element("th", element("button", "Class", type="button"), scope="col")]
    heads += [element("th", element("button", SHORT.get(kind, kind), type="button"), scope="col", class_="number")
              for kind in kinds]  # fmt: skip
    wrong = {name: sum(count for kind, count in own.items() if kind not in GOOD) for name, own in by_class.items()}
    rows = []
    for name in sorted(by_class, key=lambda n: (-wrong[n], n)):
        cells = [element("td", show_number(by_class[name].get(kind, 0)), class_="number",
                         data_value=by_class[name].get(kind, 0)) for kind in kinds]  # fmt: skip
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *rows), class_="sortable many")
    title = element("summary", "Kinds of errors by class", element("small", f"{len(rows)} classes"))
    return element("details", title, sheet(table, "kinds of errors by class"))


# Answers


def _answers(diagnosis: Mapping[str, Any]) -> list[Markup]:
    by_kind = {str(kind): _counts(own) for kind, own in _mapping(diagnosis.get("by_kind")).items()}
    pairs = _pairs(diagnosis.get("confusion"), 3)
    sheets = [_right_table(by_kind)] if by_kind else []
    sheets += [_pair_table(pairs)] if pairs else []
    return [element("div", *sheets, class_="sheets")] if sheets else []


def _right_table(by_kind: Mapping[str, Mapping[str, int]]) -> Markup:
    rows = []
    for kind, own in sorted(by_kind.items(), key=lambda item: -sum(item[1].values())):
        right, all_of_them = own.get("right", 0), max(1, sum(own.values()))
        bar = element("i", style=f"width:{100 * right / all_of_them:.1f}%", class_="good")
        rows.append(element("tr", element("th", kind or "any", scope="row"),
                            element("td", f"{right} of {sum(own.values())}", class_="number"),
                            element("td", bar if right else "", class_="bar track")))  # fmt: skip
    heads = [element("th", "Kind of question", scope="col"), element("th", "right", scope="col", class_="number")]
    table = element("table", element("thead", element("tr", *heads, element("td"))), element("tbody", *rows))
    return _titled("right answers", "by kind of question", table)


# Reading


def _titled(title: str, note: str, table: Markup) -> Markup:
    return element("div", element("h4", title, element("small", note)), sheet(table, title))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _share(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and 0 <= value <= 1 else None


def _counts(value: Any) -> dict[str, int]:
    return {str(key): _count(number) for key, number in _mapping(value).items()}


def _pairs(value: Any, words: int) -> list[tuple[tuple[str, ...], int]]:
    """Rows of `words` words and a number, the most frequent first."""
    rows = [row for row in value if isinstance(row, list) and len(row) == words + 1] if isinstance(value, list) else []
    pairs = [(tuple(map(str, row[:-1])), _count(row[-1])) for row in rows]
    return sorted((pair for pair in pairs if pair[1]), key=lambda pair: (-pair[1], pair[0]))
