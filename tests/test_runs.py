"""Claims about folders: what a command leaves is whole, or nothing; trouble with the disk is one line."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from PIL import Image

from glipv2.checkpoint_files import WholeCheckpoints
from glipv2.checkpoints import record_of, save_weights
from glipv2.cli import one_interrupt
from glipv2.config import TrainConfig
from glipv2.errors import Interrupted, UserError, disk_trouble
from glipv2.runs import claim_folder, output_folder, sole_use, write_json, write_metrics
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionTask
from glipv2.train import train
from glipv2.trainer import interrupts_as_such

Command = Callable[..., Any]


@pytest.fixture
def home(task: DetectionTask, tmp_path: Path) -> Path:
    """A folder with weights of an untrained detector and two pictures, the second of them broken."""
    record = record_of(task.model_config, task.config, Vocabulary(("cat", "dog")))
    save_weights(tmp_path / "weights.safetensors", task.state_dict(), record)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "photos/a.png")
    (tmp_path / "photos/b.png").write_bytes(b"not a picture")
    return tmp_path


PREDICT = ("predict", "weights=weights.safetensors", "text=a dog.", "batch_size=1", "device=cpu")


def refused(glipv2: Command, folder: Path, *words: str) -> str:
    """The one line of a command that ends with status 2 and leaves the folder as it found it."""
    before = sorted(folder.rglob("*"))
    ended = glipv2(folder, *words)
    assert ended.code == 2, ended
    assert sorted(folder.rglob("*")) == before
    (line,) = ended.err.splitlines()
    return str(line)


# Predictions


def test_a_broken_picture_leaves_no_folder_on_the_way_to_the_output(glipv2: Command, home: Path) -> None:
    assert "b.png" in refused(glipv2, home, *PREDICT, "images=photos/b.png", "output=a/b/c")
    (home / "a/b").mkdir(parents=True)
    assert "b.png" in refused(glipv2, home, *PREDICT, "images=photos/b.png", "output=a/b/c")
    (home / "a/b/c").mkdir()
    assert "b.png" in refused(glipv2, home, *PREDICT, "images=photos/b.png", "output=a/b/c")


@pytest.mark.parametrize("output", [".", "", "a/b", "a/../c"])
def test_predictions_go_wherever_they_are_sent(glipv2: Command, home: Path, output: str) -> None:
    assert glipv2(home, *PREDICT, "images=photos/a.png", f"output={output}").code == 0
    place = home / os.path.normpath(output or ".")
    assert json.loads((place / "predictions.json").read_text())["images"][0]["file_name"] == "a.png"
    assert {path.name for path in place.iterdir()} <= {"predictions.json", "a_1.png", "photos", "weights.safetensors"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("batch_size=0", "batch_size: expected at least 1, but got 0"),
        ("threshold=1.5", "threshold: expected 0 to 1, but got 1.5"),
        ("threshold=nan", "threshold: expected a number, but got nan"),
        ("device=gpu0", "device=gpu0: Invalid device string"),
        ("device=cuda:77", "device=cuda:77: "),
    ],
)
def test_settings_out_of_range_are_refused(glipv2: Command, home: Path, word: str, message: str) -> None:
    assert message in refused(glipv2, home, *PREDICT, "images=photos/a.png", word)


# Disks


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_place_that_takes_no_files_is_one_line(
    glipv2: Command, home: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def full(path: Path, value: Any) -> NoReturn:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr("glipv2.predicted.write_json", full)
    ended = glipv2(home, *PREDICT, "images=photos/a.png", "output=a/b")
    assert ended.code == 2
    (line,) = (line for line in ended.err.splitlines() if line.startswith("error: "))
    assert line.startswith("error: a/b/.partial/head.json: ")
    assert os.strerror(code).lower() in line
    assert [path.name for path in (home / "a/b").iterdir()] == [".partial"]  # what is done is kept, to go on with


@pytest.mark.parametrize(
    "words",
    [
        (*PREDICT, "images=photos/a.png", "output=photos/a.png"),
        (*PREDICT, "images=photos/a.png", "output=photos/a.png/x"),
        ("train", "output=photos/a.png/x"),
        ("train", "output=photos/a.png"),
        ("train", "-m", "seed=1,2", "hydra.sweep.dir=photos/a.png"),
        ("evaluate", "weights=weights.safetensors", "output=photos/a.png"),
    ],
)
def test_a_file_in_the_way_is_one_line(glipv2: Command, home: Path, words: Sequence[str]) -> None:
    line = refused(glipv2, home, *words)
    assert "a.png" in line
    assert "choose another place" in line


def test_a_report_is_a_file(glipv2: Command, home: Path) -> None:
    (home / "metrics.json").write_text("{}")
    assert "expected a file" in refused(glipv2, home, "report", ".", "output=photos")
    assert "choose another place" in refused(glipv2, home, "report", ".", "output=photos/a.png/x.html")
    assert "expected the folder of a run" in refused(glipv2, home, "report", "output=x.html")


def test_only_trouble_with_files_is_told_so() -> None:
    assert disk_trouble(OSError(errno.ENOSPC, "No space left on device")) == "no space left on device; free some space"
    assert disk_trouble(OSError(errno.EACCES, "Permission denied")) is None  # of what?
    assert disk_trouble(OSError("cannot identify image file")) is None
    assert disk_trouble(BrokenPipeError(errno.EPIPE, "Broken pipe", "x")) is None


def test_files_that_could_not_be_finished_are_not_there(
    task: DetectionTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    WholeCheckpoints().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    record = record_of(task.model_config, task.config, Vocabulary(("cat",)))
    with pytest.raises(UserError, match="can't be written"):
        save_weights(tmp_path / "missing/weights.safetensors", task.state_dict(), record)
    monkeypatch.setattr(os, "replace", fail)
    for write in (
        lambda: write_json(tmp_path / "metrics.json", {}),
        lambda: save_weights(tmp_path / "weights.safetensors", task.state_dict(), record),
        lambda: WholeCheckpoints().save_checkpoint({"step": 2}, tmp_path / "last.ckpt"),
    ):
        with pytest.raises(OSError, match="No space"):
            write()
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 1}


def test_a_checkpoint_half_written_spares_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(checkpoint: Any, file: Any) -> NoReturn:
        file.write(b"half")
        raise KeyboardInterrupt

    WholeCheckpoints().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    monkeypatch.setattr("glipv2.checkpoint_files.torch.save", cut)
    with pytest.raises(KeyboardInterrupt):
        WholeCheckpoints().save_checkpoint({"step": 2}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


# A run's folder


def test_a_claim_given_back_takes_only_what_came_after_it(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/notes.txt").touch()
    for folder in (tmp_path / "own", tmp_path / "new/deep"):
        claim = claim_folder(folder)
        (folder / "config.yaml").touch()
        (folder / "wandb/run").mkdir(parents=True)
        with pytest.raises(UserError, match=r"already holds a run; choose another folder, or remove this one"):
            claim_folder(folder)
        claim.give_back()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["own", "own/notes.txt"]


def test_a_folder_is_one_runs_alone_until_it_ends_or_dies(tmp_path: Path) -> None:
    wait = f"import time, pathlib\nfrom glipv2.runs import sole_use\nwith sole_use(pathlib.Path({str(tmp_path)!r})):"
    command = [sys.executable, "-c", f"{wait}\n print(1, flush=True); time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"1\n"
        with pytest.raises(UserError, match="another run works in it"), sole_use(tmp_path):
            pass
        other.kill()
    with sole_use(tmp_path), pytest.raises(UserError, match="another run works in it"), sole_use(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_does_not_begin_in_a_folder_where_another_one_works(
    compose: Callable[[Sequence[str]], TrainConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glipv2.train._trained", lambda *_: pytest.fail("it began"))
    with sole_use(tmp_path), pytest.raises(UserError, match="another run works in it"):
        train(compose(["tracking=off"]), tmp_path)


def test_a_run_with_a_checkpoint_can_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    (tmp_path / "config.yaml").touch()
    with pytest.raises(UserError, match=rf"or go on with it by resume={tmp_path}"):
        claim_folder(tmp_path)


def test_an_output_folder_stays_only_with_something_in_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "a/b"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "a/b"):
        (tmp_path / "a/notes.txt").touch()
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, UserError, OSError])
def test_a_run_that_ends_before_its_first_step_gives_its_folder_back(
    compose: Callable[[Sequence[str]], TrainConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: type[BaseException],
) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        assert (tmp_path / "a/run/config.yaml").is_file()
        raise failure

    monkeypatch.setattr("glipv2.train._run", fail)
    expected = Interrupted if failure is KeyboardInterrupt else failure
    with pytest.raises(expected) as ended:
        train(compose(["tracking=off"]), tmp_path / "a/run")
    if failure is KeyboardInterrupt:
        assert str(ended.value) == "before the first step; nothing was kept"
    assert list(tmp_path.iterdir()) == []


# Ctrl-C


@pytest.fixture
def sigint() -> Iterator[None]:
    """Python's own handling of Ctrl-C for one test, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_ctrl_c_does_not_break_what_the_first_began(sigint: None) -> None:
    saved = False
    with pytest.raises(KeyboardInterrupt), one_interrupt():
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            handler = signal.getsignal(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            signal.signal(signal.SIGINT, handler)  # as Lightning does when it ends
            os.kill(os.getpid(), signal.SIGINT)
            saved = True
    os.kill(os.getpid(), signal.SIGINT)  # the process is ending
    assert saved


def test_ctrl_c_works_as_before_after_a_command(sigint: None) -> None:
    with one_interrupt():
        pass
    with pytest.raises(ZeroDivisionError), one_interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_exit_that_lightning_makes_of_ctrl_c_is_an_interrupt_again() -> None:
    with pytest.raises(KeyboardInterrupt), interrupts_as_such():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904  # as Lightning does
    with pytest.raises(SystemExit), interrupts_as_such():
        raise SystemExit(3)


def test_metrics_of_a_second_evaluation_join_the_first(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"detection/box_ap": 0.5})
    write_metrics(tmp_path, {"detection/unseen/box_ap": 0.25})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "detection/box_ap": 0.5,
        "detection/unseen/box_ap": 0.25,
    }
