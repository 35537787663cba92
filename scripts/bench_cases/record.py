"""What a run measured and where, as a JSON file that grows row by row."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench_cases.bench import Bench
from bench_cases.result import Row
from glipv2.runs import environment, write_json


@dataclass
class Record:
    """Rows with what they depend on: machine, versions, command."""

    path: Path
    facts: dict[str, Any]
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def here(cls, bench: Bench, path: Path) -> Record:
        """An empty one for this machine."""
        device = torch.cuda.get_device_name(bench.device) if bench.on_gpu else platform.machine()
        facts = {
            **{key: value for key, value in environment().items() if key not in ("device", "folder")},
            "command": shlex.join(["python", "scripts/bench.py", *sys.argv[1:]]),
            "device": device,
            "threads": torch.get_num_threads(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "transformers": version("transformers"),
            "date": datetime.now(UTC).date().isoformat(),
            "seed": 0,
            "rounds": bench.rounds,
            "peak_flops": bench.peak,
        }
        return cls(path, facts)

    def add(self, row: Row) -> None:
        """Writes it, with those before."""
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"facts": self.facts, "rows": [own.plain() for own in self.rows]})


def rendered(paths: Sequence[Path]) -> dict[str, Record]:
    """Records by the name of their file."""
    found = {}
    for path in paths:
        content = json.loads(path.read_text("utf-8"))
        found[path.stem] = Record(path, content["facts"], [Row(**row) for row in content["rows"]])
    return found
