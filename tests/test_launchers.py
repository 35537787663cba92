"""Claims about sweeps: whatever starts their jobs, each trains with its own values and leaves one folder alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_run import TINY

from glipv2 import arguments, extras

LIBRARIES = {"basic": "hydra", "processes": "joblib", "slurm_here": "submitit", "on_ray": "ray"}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LIBRARIES)
def test_a_sweep_makes_one_run_a_job(launcher: str, tmp_path: Path) -> None:
    pytest.importorskip(LIBRARIES[launcher])
    words = ("-m", f"hydra/launcher={launcher}", *TINY, "trainer.max_steps=1", "name=both", "seed=1,2")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = subprocess.run(
        [sys.executable, "-m", "glipv2.cli", "train", *words], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (sweep,) = (tmp_path / "runs/both").iterdir()
    assert sorted(path.name for path in sweep.iterdir() if path.name != ".submitit") == ["0", "1", "multirun.yaml"]
    configs = [yaml.safe_load((sweep / job / "config.yaml").read_text()) for job in ("0", "1")]
    assert [config["seed"] for config in configs] == [1, 2]
    assert [config["output"] for config in configs] == [str(sweep / "0"), str(sweep / "1")]
    assert all((sweep / job / "metrics.json").is_file() for job in ("0", "1"))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(
    ("preset", "own", "told"),
    [
        ("launcher/on_ray", "ray", 'needs hydra-ray-launcher: pip install "glipv2[ray]"'),
        ("launcher/slurm", "submitit_slurm", 'needs hydra-submitit-launcher: pip install "glipv2[slurm]"'),
        ("sweeper/tpe", "optuna", 'needs hydra-optuna-sweeper: pip install "glipv2[sweep]"'),
    ],
)
def test_a_preset_whose_library_is_missing_says_what_gets_it(
    preset: str, own: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "installed", lambda name: None)
    missing = Exception(f"In 'hydra/{preset}': Could not load 'hydra/{preset.partition('/')[0]}/{own}'.")
    assert arguments.explained(missing, "train") == f"hydra/{preset.replace('/', '=')} {told}"
