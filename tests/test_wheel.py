"""What a user gets from pip: the wheel alone, used from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
TINY = [
    "experiment=shapes_detection_nano",
    "trainer.max_steps=5",
    "data.batch_size=2",
    "data.eval_scenes=4",
    "data.workers=0",
    "tracking=off",
    "also_evaluate=[]",
    "output=run",
]


@pytest.mark.slow
def test_the_wheel_trains_and_predicts_away_from_the_clone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        names = archive.namelist()
    assert {"glipv2/py.typed", "glipv2/conf/train.yaml", "glipv2/experiments/shapes_detection_nano.yaml"} <= set(names)
    away = tmp_path / "away"
    away.mkdir()
    Image.new("RGB", (90, 70), "red").save(away / "photo.png")

    where = _glipv2(away, tmp_path / "site", "-c", "import glipv2; print(glipv2.__file__)")
    assert where.strip().startswith(str(tmp_path / "site")), "the clone answered instead of the wheel"
    _glipv2(away, tmp_path / "site", "-m", "glipv2.cli", "train", *TINY)
    _glipv2(
        away, tmp_path / "site", "-m", "glipv2.cli", "predict", "weights=run", "images=photo.png", "text=a red square.",
        "threshold=0",
    )  # fmt: skip

    assert (away / "run/metrics.json").is_file()
    assert (away / "predictions/predictions.json").is_file()


def _glipv2(cwd: Path, site: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout
