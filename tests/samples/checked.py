"""Checks of small files in a folder, as `glipv2 data check` makes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from glipv2.checking.findings import Finding
from glipv2.checking.opening import Input
from glipv2.checking.runner import CheckConfig, CheckReport, check
from glipv2.tokenizer import TokenizerConfig


def written(folder: Path, content: Any, name: str = "instances.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def checked(*sources: Input, max_tokens: int = 256) -> CheckReport:
    return check(sources, CheckConfig(TokenizerConfig(max_tokens=max_tokens).build()))


def report_of(folder: Path, content: Any, **options: Any) -> CheckReport:
    """The report about one file whose pictures lie in `images`."""
    return checked(Input("train", written(folder, content), folder / "images"), **options)


def codes(report: CheckReport) -> dict[str, int]:
    """How often each code was found; categories without boxes, which small files always have, aside."""
    return {code: count for code, count in report.findings.counts.items() if code != "W505"}


def only(report: CheckReport, code: str) -> Finding:
    """The one finding of a code."""
    found = [finding for finding in report.findings.shown if finding.code == code]
    assert len(found) == 1, [str(finding) for finding in report.findings.shown]
    return found[0]
