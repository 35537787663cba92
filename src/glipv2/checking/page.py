"""The report of a check as one HTML file that holds everything it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from glipv2.checking.counts import SIDES, SplitCounts, texts_of
from glipv2.checking.findings import CODES, Finding
from glipv2.checking.runner import CheckReport, SampleView
from glipv2.data.images import read_described, read_image
from glipv2.errors import UserError
from glipv2.report.gallery import drawn_phrases, drawn_truth
from glipv2.report.markup import Markup, element, join
from glipv2.report.page import document, heading, section, write_whole
from glipv2.report.pictures import byte_limit, inlined
from glipv2.structures.drawing import draw_boxes, draw_lines

SECTIONS = {
    "findings": "Findings",
    "splits": "Splits",
    "classes": "Classes",
    "sizes": "Sizes of boxes",
    "prompts": "Prompts",
    "samples": "Samples",
}
LONGEST_SIDE = 720  # of a sample's picture, in pixels
LISTED = 20  # findings of a code that are listed
SHOWN_FINDINGS = 24  # pictures of findings
CAPTIONS = 3  # under a picture
LIGHT_FINDINGS = "E202", "E203", "E206"  # of pictures: there is nothing to draw, or nothing to see


def write_page(report: CheckReport, output: Path, title: str = "Data check") -> None:
    """Writes the page; it appears whole or not at all."""
    write_whole(output, render(report, title).encode("utf-8", errors="replace"))


def render(report: CheckReport, title: str) -> str:
    """The page as text."""
    facts = [
        f"{report.findings.errors} errors",
        f"{report.findings.warnings} warnings",
        *(f"{one.source.split}: {one.file} ({one.kind})" for one in report.opened),
    ]
    content = {
        "findings": _findings(report),
        "splits": _splits(report.splits),
        "classes": _classes(report.splits),
        "sizes": _sizes(report.splits),
        "prompts": _prompts(report),
        "samples": _samples(report),
    }
    head = heading(title, facts, _refusals(report), SECTIONS)
    return document(title, head, [section(anchor, SECTIONS[anchor], part) for anchor, part in content.items()])


def _refusals(report: CheckReport) -> Markup:
    lines = [element("p", f"{one.file}: {one.refusal}") for one in report.opened if one.refusal]
    return element("div", *lines, class_="note", role="note") if lines else Markup()


def _findings(report: CheckReport) -> Markup:
    if not report.findings.counts:
        return element("p", "Nothing to tell: no errors, no warnings.")
    heads = _heads(["Code", "What", "What to do"], ["Count"])
    rows = [
        element("tr", element("th", code, scope="row"), element("td", CODES[code].title),
                element("td", CODES[code].remedy), element("td", str(count), class_="number"))
        for code, count in sorted(report.findings.counts.items())
    ]  # fmt: skip
    shown = report.findings.shown
    parts = [_sheet(heads, rows, "findings by code")]
    for code, count in sorted(report.findings.counts.items()):
        parts.append(_listed(code, count, [finding for finding in shown if finding.code == code]))
    pictures = [finding for finding in shown if finding.picture and finding.code not in LIGHT_FINDINGS]
    figures = [_finding_figure(finding, report) for finding in pictures[:SHOWN_FINDINGS]]
    drawn = [figure for figure in figures if figure]
    if drawn:
        parts += [element("h3", "In pictures"), element("div", *drawn, class_="pictures")]
    return join(parts)


def _listed(code: str, count: int, findings: Sequence[Finding]) -> Markup:
    few = findings[:LISTED]
    lines = [element("tr", element("td", f"{one.file}: {one.place}" if one.place else one.file, class_="long"),
                     element("td", one.what, class_="long")) for one in few]  # fmt: skip
    told = f"{count}" if len(few) == len(findings) else f"the first {len(few)} of {count}"
    summary = element("summary", f"{code} {CODES[code].title}", element("small", told))
    table = element("table", element("thead", _heads(["Where", "What"], [])), element("tbody", *lines))
    return element("details", summary, element("div", table, class_="sheet open"))


def _splits(splits: Sequence[SplitCounts]) -> Markup:
    numbers = ("images", "without_boxes", "boxes", "crowds", "captions", "phrases", "questions")
    heads = _heads(["Split"], [name.replace("_", " ") for name in numbers] + ["image sizes"])
    rows = []
    for split in splits:
        told = split.to_json()
        sizes = " / ".join(f"{width} × {height}" for height, width in split.image_sizes().values())
        cells = [element("td", str(told[name]), class_="number") for name in numbers]
        name = element("th", f"{split.name} ({Path(split.file).name})", scope="row")
        rows.append(element("tr", name, *cells, element("td", sizes, class_="number")))
    note = element("p", "Image sizes: width × height of the smallest, the middle and the largest.", class_="soft")
    return join([_sheet(heads, rows, "splits"), note])


def _classes(splits: Sequence[SplitCounts]) -> Markup:
    named = [split for split in splits if split.named]
    parts = [_bars(f"{split.name}: boxes by class", split.classes, "Class") for split in named]
    phrased = [split for split in splits if split.phrases]
    parts += [_bars(f"{split.name}: commonest phrases", dict(split.phrases.most_common(50)), "Phrase")
              for split in phrased]  # fmt: skip
    return element("div", *parts, class_="sheets") if parts else element("p", "No classes.", class_="absent")


def _sizes(splits: Sequence[SplitCounts]) -> Markup:
    parts = [_bars(f"{split.name}: square root of the area, pixels", {
        f"from {side}": split.sides[side] for side in SIDES}, "Side") for split in splits if split.boxes]  # fmt: skip
    return element("div", *parts, class_="sheets") if parts else element("p", "No boxes.", class_="absent")


def _bars(title: str, counts: dict[str, int], what: str) -> Markup:
    most = max(counts.values(), default=0) or 1
    rows = [
        element("tr", element("th", name, scope="row"),
                element("td", str(count), class_="number", data_value=str(count)),
                element("td", element("i", style=f"width:{100 * count / most:.1f}%") if count else "", class_="bar"))
        for name, count in counts.items()
    ]  # fmt: skip
    buttons = [element("th", element("button", what, type="button"), scope="col"),
               element("th", element("button", "Count", type="button"), scope="col", class_="number"),
               element("td")]  # fmt: skip
    table = element("table", element("thead", element("tr", *buttons)), element("tbody", *rows), class_="sortable")
    sheet = element("div", table, class_="sheet", tabindex="0", role="region", aria_label=title)
    return element("div", element("h4", title, element("small", str(len(counts)))), sheet)


def _prompts(report: CheckReport) -> Markup:
    parts = []
    for example in report.prompts:
        chips = [element("li", f"{name}: {' '.join(tokens)}" if " ".join(tokens) != name else name)
                 for name, tokens in example.phrases]  # fmt: skip
        parts += [
            element("h4", f"{example.split}, {example.use}", element("small", f"{example.tokens} tokens")),
            element("p", element("code", example.text)),
            element("ul", *chips, class_="found"),
        ]
    return join(parts) if parts else element("p", "No prompts of names: captions are read as they are.", class_="soft")


def _samples(report: CheckReport) -> Markup:
    limit = byte_limit(len(report.samples) + SHOWN_FINDINGS)
    figures = [figure for view in report.samples if (figure := _sample_figure(view, limit))]
    return element("div", *figures, class_="pictures") if figures else element("p", "No pictures.", class_="absent")


def drawn_sample(view: SampleView) -> Image.Image | None:
    """The picture with its boxes and, below it, its texts; None where it can't be read."""
    try:
        picture = read_described(view.picture, view.truth.image_size, view.split)
    except UserError:
        return None  # a finding tells it
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    texts = texts_of(view.truth)[:CAPTIONS]
    if any(text.phrases for text in texts):
        picture = drawn_phrases(picture, view.truth, texts)
    else:
        picture = drawn_truth(picture, view.truth, view.names)
    return draw_lines(picture, [text.text for text in texts])


def _sample_figure(view: SampleView, limit: int) -> Markup | None:
    picture = drawn_sample(view)
    return None if picture is None else _figure(picture, view.truth.name, view.split, limit)


def _finding_figure(finding: Finding, report: CheckReport) -> Markup | None:
    """The picture of a finding with its box."""
    views = {view.truth.name: view.picture for view in report.samples}
    folders = {view.picture.parent for view in report.samples}
    tried = [views.get(finding.picture, Path(finding.picture)), *(folder / finding.picture for folder in folders)]
    path = next((path for path in tried if path.is_file()), None)
    if path is None:
        return None
    try:
        picture = read_image(path)
    except UserError:
        return None
    full = picture.width
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    if finding.box:
        factor = picture.width / full
        picture = draw_boxes(picture, [[factor * side for side in finding.box]], [finding.code], [0])
    words = f"{finding.code} {finding.what}"
    return _figure(picture, path.name, words, byte_limit(len(report.samples) + SHOWN_FINDINGS))


def _figure(picture: Image.Image, title: str, words: str, limit: int) -> Markup:
    inline = inlined(picture, limit, photograph=True)
    image = element("img", src=inline.uri, alt=title, width=inline.width, height=inline.height)
    button = element("button", image, type="button", aria_label="enlarge or reduce")
    return element("figure", button, element("figcaption", element("b", title), f" {words}"))


def _heads(words: Sequence[str], numbers: Sequence[str]) -> Markup:
    cells = [element("th", word, scope="col") for word in words]
    cells += [element("th", word, scope="col", class_="number") for word in numbers]
    return element("tr", *cells)


def _sheet(heads: Markup, rows: Sequence[Markup], label: str) -> Markup:
    table = element("table", element("thead", heads), element("tbody", *rows))
    return element("div", table, class_="sheet open", tabindex="0", role="region", aria_label=label)
