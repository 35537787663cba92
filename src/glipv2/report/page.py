"""The report: one HTML file that shows a run, or several beside each other, and asks for nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from glipv2.errors import UserError
from glipv2.report.cards import headline
from glipv2.report.charts import overlaid_charts, run_charts
from glipv2.report.comparison import comparison, run_names
from glipv2.report.costs import device_hours, hardware_and_cost, retention_table
from glipv2.report.figures import PictureBudget, galleries, photographs
from glipv2.report.markup import Markup, element, join
from glipv2.report.mistakes import mistakes
from glipv2.report.run import PARTS, RunFolder
from glipv2.report.seeds import seed_table
from glipv2.report.stylesheet import SCRIPT, STYLE
from glipv2.report.tables import number_table, task_tables
from glipv2.report.trials import Sweep, best_trial, sweep_section, sweeps_among, trial_names, varied_keys

MOST_WITH_PICTURES = 4  # runs of a page that all show theirs
FEW = 2  # runs that need no picture of what was tried
HEADER_FACTS = ("device", "glipv2", "commit")  # entries of environment.json under the title


def write_report(runs: Sequence[Path], output: Path, title: str = "Run report") -> Path:
    """Writes one self-contained HTML page about the run folders `runs` to `output`, and returns it.

    The same folders give the same bytes. Parts that a folder lacks are named on the page. The file
    appears whole or not at all. Raises UserError when no run is given, or one is no run's folder.
    """
    if not runs:
        raise UserError("expected at least one run folder to report on, but got none")
    folders, sweep = sweeps_among([Path(path) for path in {Path(path).resolve(): path for path in runs}.values()])
    if not folders:
        raise UserError(f"'{runs[0]}' is a sweep of which no trial has left anything")
    page = render_page([RunFolder.read(path) for path in folders], title, sweep)
    output = Path(output)
    # File names can hold bytes that are no text; they must not cost the report.
    write_whole(output, page.encode("utf-8", errors="replace"))
    return output


def render_page(runs: Sequence[RunFolder], title: str, sweep: Sweep | None = None) -> str:
    """The page as text; sweep: that the runs are the trials of."""
    named = trial_names(runs, sweep) if sweep else run_names(runs)
    if len(named) > MOST_WITH_PICTURES:
        named = _with_pictures_of_the_best(named)
    budget = PictureBudget.of(list(named.values()))
    if len(named) == 1 and not sweep:
        name, run = next(iter(named.items()))
        parts = _run_sections(run, budget)
        anchors = {anchor: words for anchor, words in SECTIONS.items() if anchor in parts}
        header = heading(title, [name, *_facts(run)], _notes({"": run}), anchors)
        return document(f"{title}: {name}", header, list(parts.values()))
    sections = _compared_sections(named, budget, sweep)
    anchors = {anchor: words for anchor, words in SECTIONS_OF_SEVERAL.items() if anchor in sections}
    facts = [f"{len(named)} trials of {sweep.path.resolve().name}"] if sweep else [f"{len(named)} runs", *named]
    header = heading(title, [*facts, *_total(named)], _notes(named), anchors)
    name = sweep.path.resolve().name if sweep else ", ".join(named)
    return document(f"{title}: {name}", header, list(sections.values()))


SECTIONS = {
    "numbers": "Headline numbers",
    "curves": "Curves",
    "tables": "Tables",
    "mistakes": "What goes wrong",
    "retention": "What was kept",
    "gallery": "Gallery",
    "photographs": "Photographs",
    "cost": "Hardware and cost",
    "setup": "Setup",
}
SECTIONS_OF_SEVERAL = {"sweep": "Trials", "comparison": "Comparison", "curves": "Curves", "runs": "Each run"}


def _with_pictures_of_the_best(runs: Mapping[str, RunFolder]) -> dict[str, RunFolder]:
    """Many runs without their pictures, which would be too small and take minutes; the best keeps its own."""
    best = best_trial(runs)
    return {name: run if name == best else replace(run, galleries={}, photographs=()) for name, run in runs.items()}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that nobody ever sees half of it; leaves nothing behind when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes files for their owner alone
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def document(title: str, header: Markup, sections: Sequence[Markup]) -> str:
    """A whole page that holds everything it shows."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode("ascii")
    # The browser itself holds the page to asking for nothing, and to running no script but ours.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    footer = element("footer", "Written by glipv2. This file holds everything it shows.")
    body = element("body", header, element("main", *sections), footer, element("script", Markup(SCRIPT)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def heading(title: str, facts: Sequence[str], notes: Markup, sections: Mapping[str, str]) -> Markup:
    """The head of a page: facts under its title, links to its sections by anchor, and notes."""
    links = [element("a", words, href=f"#{anchor}") for anchor, words in sections.items()]
    listed = element("ul", *(element("li", fact) for fact in facts), class_="facts")
    return element("header", element("h1", title), listed, element("nav", *links, aria_label="Sections"), notes)


def _facts(run: RunFolder) -> list[str]:
    known = {key: run.environment[key] for key in HEADER_FACTS if run.environment.get(key)}
    if "commit" in known:
        known["commit"] = known["commit"][:10]
    return [value if key == "device" else f"{key} {value}" for key, value in known.items()]


def _notes(runs: Mapping[str, RunFolder]) -> Markup:
    """What is missing, what could not be read and how far unfinished runs came; the same of several runs once."""
    said: dict[str, list[str]] = {}
    for name, run in runs.items():
        first = "n" if name else "N"
        told = [f"{first}{run.state[1:]}."] if run.state.startswith("not finished") else []
        if run.missing:
            told.append(f"{first}ot in this folder: {', '.join(f'{part} ({PARTS[part]})' for part in run.missing)}.")
        for line in [*told, *run.problems]:
            said.setdefault(line, []).append(name.partition(":")[0])
    lines = [f"{', '.join(names)}: {line}" if names[0] else line for line, names in said.items()]
    return element("div", *(element("p", line) for line in lines), class_="note", role="note") if lines else Markup()


def _total(runs: Mapping[str, RunFolder]) -> list[str]:
    """What all runs took together."""
    hours = [own for run in runs.values() if (own := device_hours(run)) is not None]
    return [f"{sum(hours):.3g} device hours in all"] if hours else []


def section(anchor: str, title: str, *content: Markup) -> Markup:
    """A part of a page under its heading."""
    return element("section", element("h2", title), *content, id=anchor or None)


def _run_sections(run: RunFolder, budget: PictureBudget, anchored: bool = True) -> dict[str, Markup]:
    """All that is known of one run, by anchor; what was kept only where it was measured."""
    content = {
        "numbers": headline(run),
        "curves": run_charts(run),
        "tables": task_tables(run),
        "mistakes": mistakes(run),
        "retention": retention_table(run),
        "gallery": galleries(run, budget),
        "photographs": photographs(run, budget),
        "cost": hardware_and_cost(run),
        "setup": join(
            [_command(run), _config(run), number_table(run.metrics) if run.metrics else "", _environment(run)]
        ),
    }
    told = {anchor: part for anchor, part in content.items() if part}
    return {anchor: section(anchor if anchored else "", SECTIONS[anchor], part) for anchor, part in told.items()}


def _compared_sections(runs: Mapping[str, RunFolder], budget: PictureBudget, sweep: Sweep | None) -> dict[str, Markup]:
    """What differs first; each run in full is folded away below."""
    folded = [
        element(
            "details", element("summary", name),
            element("div", *_run_sections(run, budget, anchored=False).values(), class_="inside"), class_="run",
        )
        for name, run in runs.items()
    ]  # fmt: skip
    trials = sweep_section(runs, sweep) if sweep or len(runs) > FEW else Markup()
    content = {
        "sweep": [trials] if trials else [],
        "comparison": [join([seed_table(runs, varied_keys(runs, sweep)), comparison(runs)])],
        "curves": [overlaid_charts(runs)],
        "runs": [*([_pictured(runs)] if len(runs) > MOST_WITH_PICTURES else []), *folded],
    }
    return {anchor: section(anchor, SECTIONS_OF_SEVERAL[anchor], *own) for anchor, own in content.items() if own}


def _pictured(runs: Mapping[str, RunFolder]) -> Markup:
    best = best_trial(runs)
    return element("p", f"Pictures are shown of {best or 'none of them'} alone: there are many runs.", class_="soft")


def _command(run: RunFolder) -> Markup:
    return element("pre", run.command, class_="command") if run.command else Markup()


def _config(run: RunFolder) -> Markup:
    from omegaconf import OmegaConf

    if not run.config:
        return element("p", "No config: config.yaml is absent, empty or broken.", class_="absent")
    text = OmegaConf.to_yaml(OmegaConf.create(dict(run.config)))
    summary = element("summary", "Config", element("small", "config.yaml, with every default"))
    return element("details", summary, element("div", element("pre", text), class_="inside"))


def _environment(run: RunFolder) -> Markup:
    if not run.environment:
        return element("p", "No environment: environment.json is absent, empty or broken.", class_="absent")
    rows = [element("tr", element("th", key, scope="row"), element("td", value, class_="long"))
            for key, value in run.environment.items()]  # fmt: skip
    table = element("table", element("tbody", *rows))
    return element("details", element("summary", "Environment"), element("div", table, class_="sheet open"))
