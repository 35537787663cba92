"""The folders that Hydra makes before a job begins, and that go again when nothing came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from glipv2.report.sweep import SWEEP_FILE
from glipv2.runs import missing_folders, remove_empty

_made: list[Path] = []


class MadeFolders(Callback):
    """Tells `take_back_empty` what was not there before; Hydra calls it by the name in conf/hydra/callbacks."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a single job."""
        _note(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Before a sweep. What is swept over is written down for every sweeper, of which only Hydra's own does it."""
        _note(config, "sweep")
        _write_down(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A sweep over names has folders of its own for each job, which are there by now."""
        folder = Path(str(config.hydra.runtime.output_dir))
        here = Path.cwd()
        if config.hydra.mode == RunMode.MULTIRUN:
            _made.extend(path for path in (folder, *folder.parents) if here in path.parents)


def _note(config: DictConfig, kind: str) -> None:
    try:
        _made.extend(missing_folders(Path(str(config.hydra[kind].dir))))
    except OmegaConfBaseException:
        return  # Hydra will say what is wrong with it


def _write_down(config: DictConfig) -> None:
    try:
        folder = Path(str(config.hydra.sweep.dir))
    except OmegaConfBaseException:
        return
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / SWEEP_FILE)


def take_back_empty() -> None:
    """Removes what Hydra made since the last call, except where a job left something."""
    for folder in _made:
        sweep = folder / SWEEP_FILE
        if sweep.is_file():
            remove_empty(path for path in folder.iterdir() if path.is_dir())
            if [path.name for path in folder.iterdir()] == [SWEEP_FILE]:
                sweep.unlink()
    remove_empty(sorted(_made, key=lambda path: -len(path.absolute().parts)))
    _made.clear()
