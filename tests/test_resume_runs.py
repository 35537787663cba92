"""Claims about commands that go on: with a killed run of every task, a cut checkpoint, a full disk, a sweep."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from glipv2 import checkpoint_files
from glipv2.arguments import with_earlier
from glipv2.checkpoint_files import WholeCheckpoints, newest_whole
from glipv2.curves_file import read_rows
from glipv2.errors import UserError

Command = Callable[..., Any]
TASKS = ("detection", "instance_segmentation", "phrase_grounding", "vqa", "captioning", "joint")
TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "data=shapes",
    "data.image_size=64", "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0", "data.eval_scenes=2",
    "trainer.accelerator=cpu", "trainer.log_every=1", "tracking=off", "trainer.progress=false", "loss=glipv2",
    "trainer.max_steps=5", "trainer.save_every=3", "gallery=0",
)  # fmt: skip


def done(ended: Any) -> str:
    """The output of a command that went well."""
    assert ended.code == 0, ended.err
    return str(ended.out)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Copies of a run's folder as it was right after each writing of last.ckpt, with a row that was cut in two."""
    copies: list[Path] = []
    original = WholeCheckpoints.save_checkpoint

    def save(self: WholeCheckpoints, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        original(self, checkpoint, path, storage_options)
        if Path(path).name == checkpoint_files.LAST:
            run = Path(path).parent.parent
            copies.append(run.with_name(f"killed_{len(copies)}"))
            shutil.copytree(run, copies[-1])
            with (copies[-1] / "metrics.csv").open("a") as file:
                file.write("0.5,0.2")

    monkeypatch.setattr(WholeCheckpoints, "save_checkpoint", save)
    return copies


def curves(run: Path) -> list[dict[str, str]]:
    """The rows of a run without times, which no two runs share."""
    rows = read_rows(run / "metrics.csv")
    assert any(row["gradients/all"] for row in rows)
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_killed_run_of_every_task_ends_in_the_same_weights_and_curves(
    tmp_path: Path, glipv2: Command, killed: list[Path], task: str
) -> None:
    done(glipv2(tmp_path, "train", *TINY, f"task={task}", "output=run"))
    first = killed[0]
    assert torch.load(first / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    done(glipv2(tmp_path, "train", f"resume={first.name}"))
    expected, found = (load_file(run / "weights.safetensors") for run in (tmp_path / "run", first))
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert curves(first) == curves(tmp_path / "run")


@pytest.mark.slow
def test_a_sweep_goes_on_with_the_job_that_was_killed(tmp_path: Path, glipv2: Command) -> None:
    words = ("-m", *TINY, "trainer.max_steps=1", "seed=1,2", "hydra.sweep.dir=sweep")
    done(glipv2(tmp_path, "train", *words))
    before = [(tmp_path / "sweep" / job / "weights.safetensors").read_bytes() for job in "01"]
    (tmp_path / "sweep/1/metrics.json").unlink()
    shutil.rmtree(tmp_path / "sweep/1/checkpoints")
    out = done(glipv2(tmp_path, "train", "resume=sweep"))
    assert "sweep/0 has ended; its scores count" in out
    assert "sweep/1 has no checkpoint yet: it begins anew" in out
    assert [(tmp_path / "sweep" / job / "weights.safetensors").read_bytes() for job in "01"] == before
    assert json.loads((tmp_path / "sweep/1/metrics.json").read_text())["run/steps"] == 1
    ended = glipv2(tmp_path, "train", "resume=sweep", "optim.lr=0.5")
    assert ended.code == 2
    assert "draws other values than before (optim.lr: 0.5, before 0.002)" in ended.err


# Files


def test_a_cut_checkpoint_is_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        WholeCheckpoints().save_checkpoint({"global_step": step, "w": torch.ones(999)}, tmp_path / "last.ckpt")
    assert newest_whole(tmp_path) == tmp_path / "last.ckpt"
    whole = (tmp_path / "last.ckpt").read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 255
    for content, told in ((whole[:-300], "cut or damaged"), (b"", "cut or damaged"), (bytes(damaged), "damaged in")):
        caplog.clear()
        (tmp_path / "last.ckpt").unlink()
        (tmp_path / "last.ckpt").write_bytes(content)
        found = newest_whole(tmp_path)
        assert found == tmp_path / "previous.ckpt"
        assert torch.load(found, weights_only=True)["global_step"] == 1
        assert f"last.ckpt can't be gone on with: it is {told}" in caplog.text
    (tmp_path / "previous.ckpt").write_bytes(b"x")
    with pytest.raises(UserError, match="no checkpoint is whole"):
        newest_whole(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_told_as_such_and_spares_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WholeCheckpoints().save_checkpoint({"global_step": 1}, tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt.partial").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpoints().save_checkpoint({"global_step": 2, "w": torch.ones(99999)}, tmp_path / "last.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"global_step": 1}


# Words


def run_of(folder: Path, command: str) -> None:
    """What a run leaves of its words."""
    folder.mkdir()
    (folder / "environment.json").write_text(json.dumps({"command": command}))


def test_a_run_goes_on_with_its_own_words_and_those_given_now(tmp_path: Path) -> None:
    run_of(tmp_path / "run", "glipv2 train task=vqa seed=3 'weights='\"'\"'a b'\"'\"'' output=elsewhere")
    resume = f"resume={tmp_path}/run"
    assert with_earlier([resume]) == ["task=vqa", "seed=3", "weights='a b'", resume, f"output={tmp_path}/run"]
    assert with_earlier(["seed=4", resume, "output=x"]) == ["task=vqa", "weights='a b'", "seed=4", resume, "output=x"]
    assert with_earlier(with_earlier([resume])) == with_earlier([resume])
    assert with_earlier(["seed=4"]) == ["seed=4"]
    assert with_earlier([f"resume={tmp_path}/none"]) == [f"resume={tmp_path}/none"]
