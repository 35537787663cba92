"""Rows for people: a line in the terminal, tables and charts in docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bench_cases.record import Record
from bench_cases.result import RATIO, Row
from glipv2.report.curves import line_chart
from glipv2.runs import write_text

MARKS = ("<!-- measured: begin -->", "<!-- measured: end -->")
GROWTH = "growth by "
TITLES = {
    "required": "What must hold",
    "speed": "Images a second",
    "memory": "Peak memory of one pass",
    "deformable": "Deformable convolution",
    "switches": "Switches",
    "training": "Training",
}


def told(row: Row) -> str:
    """One line."""
    bounds = [f"{word} {bound:g}" for word, bound in (("must", row.must), ("aim", row.aim)) if bound is not None]
    at = "" if row.at is None else f" at {row.at:g} {row.curve}"
    return f"{row.case}: {row.name}{at}: {number(row)} {' '.join(bounds)} {row.note}".rstrip()


def number(row: Row) -> str:
    """The measured number with its unit."""
    if row.measured is None:
        return "not measured"
    digits = f"{row.measured:.3f}" if row.measured < 10 else f"{row.measured:.1f}"
    if row.unit == "s" and row.measured < 0.1:
        return f"{row.measured * 1000:.3g} ms"
    return f"{digits}{' ' if row.unit != RATIO else ''}{row.unit}"


def write_page(page: Path, records: Mapping[str, Record]) -> None:
    """Puts tables and charts between the marks of the page; the prose around them stays."""
    before, _, rest = page.read_text("utf-8").partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    parts = [part for name, record in records.items() for part in _machine(name, record, page.parent)]
    write_text(page, "\n\n".join([before + MARKS[0], *parts, MARKS[1]]) + after)


def _machine(name: str, record: Record, docs: Path) -> Iterable[str]:
    facts = record.facts
    yield f"## Measured: {name}"
    yield (
        f"{facts['device']}, {facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads; torch "
        f"{facts['torch']}, transformers {facts['transformers']}, Python {facts['python']}; commit {facts['commit']}, "
        f"{facts['date']}, seed {facts['seed']}, {facts['rounds']} rounds; float32 products at "
        f"{facts['peak_flops'] / 1e12:.3f} TFLOP/s.\n\n```\n{facts['command']}\n```"
    )
    for case, title in TITLES.items():
        rows = [row for row in record.rows if row.case == case]
        if rows:
            yield f"### {title}"
            yield _table(rows)
    for case in dict.fromkeys(row.case for row in record.rows if row.case.startswith(GROWTH)):
        rows = [row for row in record.rows if row.case == case]
        yield f"### Time {case}"
        yield _chart(rows, docs, f"{name}_{case.removeprefix(GROWTH)}")
        yield _curve_table(rows)


def _table(rows: Sequence[Row]) -> str:
    bounded = any(row.must is not None or row.aim is not None for row in rows)
    head = ["what", *(["must", "aim"] if bounded else []), "measured", "seconds"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        bounds = ["" if bound is None else f"≤ {bound:g}{row.unit}" for bound in (row.must, row.aim)]
        seconds = ", ".join(f"{way} {_middle(own):.4g}" for way, own in row.ways.items()) if len(row.ways) > 1 else ""
        note = "; ".join(part for part in (seconds, row.note) if part)
        lines.append([row.name, *(bounds if bounded else []), number(row), note])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _middle(seconds: Sequence[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def _curve_table(rows: Sequence[Row]) -> str:
    ways = list(dict.fromkeys(row.name for row in rows))
    places = sorted({row.at for row in rows if row.at is not None})
    values = {(row.name, row.at): number(row) for row in rows}
    lines = [[rows[0].curve, *ways], ["---"] * (len(ways) + 1)]
    lines += [[f"{at:g}", *(values.get((way, at), "") for way in ways)] for at in places]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _chart(rows: Sequence[Row], docs: Path, name: str) -> str:
    """An SVG file beside the page; what links to it."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda own: own.at or 0):
        if row.measured is not None and row.at is not None:
            series.setdefault(row.name, []).append((row.at, row.measured))
    title = f"Seconds by {rows[0].curve}"
    drawn = str(line_chart(series, title, x_label=rows[0].curve, log_y=True))
    alone = 'xmlns="http://www.w3.org/2000/svg" style="background:#fff;color:#222;font-family:sans-serif"'
    write_text(docs / "benchmarks" / f"{name}.svg", re.sub(r"^<svg ", f"<svg {alone} ", drawn, count=1) + "\n")
    return f"![{title}](benchmarks/{name}.svg)"
