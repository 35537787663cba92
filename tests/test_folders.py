"""Claims about the folders of sweeps."""

from __future__ import annotations

from pathlib import Path

from omegaconf import OmegaConf

from glipv2.folders import MadeFolders, take_back_empty
from glipv2.report.sweep import swept_keys


def test_what_is_swept_over_is_written_down_for_every_sweeper_and_taken_back_when_nothing_came_of_it(
    tmp_path: Path,
) -> None:
    sweep = tmp_path / "runs/sweep_1"
    config = OmegaConf.create(
        {"hydra": {"sweep": {"dir": str(sweep)}, "overrides": {"task": ["optim.lr=interval(0,1)", "seed=3"]}}}
    )
    MadeFolders().on_multirun_start(config)
    assert swept_keys(sweep) == ("optim.lr",)
    (sweep / "0").mkdir()
    take_back_empty()
    assert list(tmp_path.iterdir()) == []
    MadeFolders().on_multirun_start(config)
    (sweep / "0").mkdir()
    (sweep / "0/metrics.json").touch()
    take_back_empty()
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "multirun.yaml"]
