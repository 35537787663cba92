"""What weights keep of what they could do before they were fine-tuned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.runs import write_json
from glipv2.tasks.base import Task

FILE = "retention.json"
HEADING = ["number", "before", "after", "kept"]


def comparable(before: Task, after: Task, source: str) -> Task:
    """The earlier weights as they can be measured beside others: without tasks that those were not trained for.

    Data for one task may hold nothing for another. UserError when no task is common to both.
    """
    if not set(before.subtasks()) & set(after.subtasks()):
        known, wanted = (", ".join(task.subtasks()) for task in (before, after))
        raise UserError(
            f"before={source}: these weights are for {known}, the others for {wanted}: no number is common to them; "
            f"compare their boxes on one data set with protocol="
        )
    if set(before.subtasks()) <= set(after.subtasks()):
        return before
    return after.config.assemble(before.parts(), LossConfig.grounding_only()).eval()


def retained(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Of each number of both its values, and "kept": the share after / before.

    Negative numbers say that there was nothing to measure, and nothing is kept of 0: such have no share.
    """
    found = {}
    for name in (name for name in before if name in after):
        values = {"before": before[name], "after": after[name]}
        if before[name] > 0 and after[name] >= 0:
            values["kept"] = after[name] / before[name]
        found[name] = values
    return found


def write_retention(folder: Path, numbers: Mapping[str, Mapping[str, float]]) -> None:
    """retention.json, whole or not at all."""
    write_json(folder / FILE, numbers)


def retention_rows(numbers: Mapping[str, Mapping[str, float]], told: Iterable[str]) -> list[list[str]]:
    """A heading and a row for each of the told numbers that was measured twice."""
    rows = [list(HEADING)]
    for name in told:
        if name in numbers:
            own = numbers[name]
            share = f"{100 * own['kept']:.1f} %" if "kept" in own else "–"
            rows.append([name, f"{own['before']:.4f}", f"{own['after']:.4f}", share])
    return rows
