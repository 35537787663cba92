"""facts.json: what is known of a run beside its config and its machine: the data it saw, the model's parts."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from glipv2.runs import write_json

log = logging.getLogger(__name__)

FILE = "facts.json"


def write_facts(folder: Path, data: Mapping[str, Any], model: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Writes and returns them; says so where a run goes on with other data than it began with.

    data: see `data.fingerprint`; model: parameters by part; steps: how many are done already. "parts" are the times
    at which the run was begun and taken up again, with the steps done by then.
    """
    earlier = read_facts(folder) if steps else {}
    before = earlier.get("data")
    if isinstance(before, Mapping) and before.get("digest") != data.get("digest"):
        log.warning("the data are not those that the run began with: %s", _difference(before, data))
    began = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "steps": steps}
    parts = earlier.get("parts")
    facts = {"data": data, "model": model, "parts": [*(parts if isinstance(parts, list) else []), began]}
    write_json(folder / FILE, facts)
    return facts


def read_facts(folder: Path) -> dict[str, Any]:
    """{} where there are none that can be read."""
    try:
        value = json.loads((folder / FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def peak_memory() -> dict[str, float]:
    """The most memory that this process has held, in GiB: of the GPU where it used one, else of the machine."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return {"run/peak_gpu_gib": torch.cuda.max_memory_allocated() / 2**30}
    peak = peak_of_process()
    return {} if peak is None else {"run/peak_gib": peak / 2**30}


def peak_of_process() -> int | None:
    """The most bytes of the machine's memory that this process has held; None where the system does not tell.

    Linux's `ru_maxrss` starts from what the process that started this one held, so that its status is asked first.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text("utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 2**10
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which sets and files are others."""
    told = []
    for kind in ("sets", "files"):
        old, new = before.get(kind) or {}, now.get(kind) or {}
        told += [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return ", ".join(told)
