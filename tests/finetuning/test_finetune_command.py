"""Claims about `glipv2 finetune`, from somebody's file to new weights that predict."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from shape_photos import write_photos

from glipv2.checkpoints import WEIGHTS_FILE, record_of, save_weights
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionTask

Command = Callable[..., Any]
QUICK = ("trainer.max_steps=2", "trainer.progress=false", "trainer.accelerator=cpu", "tracking=off", "data.workers=0")


@pytest.fixture
def weights(task: DetectionTask, tmp_path: Path) -> Path:
    """Of a tiny model that no preset describes, in a folder whose name means something to Hydra."""
    folder = tmp_path / "old, (1) a=b"
    folder.mkdir()
    record = record_of(task.model_config, task.config, Vocabulary(("red circle",)))
    save_weights(folder / WEIGHTS_FILE, task.state_dict(), record)
    return folder


def test_the_plan_says_ten_things_and_trains_nothing(weights: Path, tmp_path: Path, glipv2: Command) -> None:
    path = write_photos(tmp_path / "photos")
    ended = glipv2(
        tmp_path, "finetune", f"data={path}", f"weights={weights}", *QUICK[2:3], "trainer.val_every=50", "--plan"
    )
    assert ended.code == 0, ended.err
    assert "random weights" not in ended.err  # of the modules that are built to be filled from the file
    lines = ended.out.splitlines()
    assert [line[:9].strip() for line in lines] == [
        "data", "check", "annotated", "task", "weights", "tune", "batch", "length", "output", "the same",
    ]  # fmt: skip
    assert "COCO instances" in lines[0] and "5 images to train on, 1 to validate on, held out" in lines[0]
    assert "0 errors" in lines[1] and "truth itself scores box AP 1.000" in lines[1]
    assert lines[3].endswith("detection: there are boxes with names, and no masks")
    assert "prompt: 5 images are few" in lines[5]
    assert lines[8].endswith("the best of 2 validations is kept")
    assert not (tmp_path / "runs").exists()
    command = shlex.split(lines[-1].removeprefix("the same").strip())
    assert command[:2] == ["glipv2", "train"]
    composed = glipv2(tmp_path, *command[1:], "--cfg", "job")
    assert composed.code == 0, composed.err


@pytest.mark.slow
def test_a_file_of_boxes_becomes_weights_that_predict(weights: Path, tmp_path: Path, glipv2: Command) -> None:
    path = write_photos(tmp_path / "photos, (2) c=d")
    output = "new (3), e=f"
    words = (f"data={path}", f"weights={weights}", f"output={output}", f"keep={path}", "tune=lora", *QUICK)
    ended = glipv2(tmp_path, "finetune", *words, "data.batch_size=2")
    assert ended.code == 0, ended.err
    new, old = load_file(tmp_path / output / WEIGHTS_FILE), load_file(weights / WEIGHTS_FILE)
    assert new.keys() == old.keys()
    assert not torch.equal(new["core.fusion.layers.0.text.query.weight"], old["core.fusion.layers.0.text.query.weight"])
    retention = json.loads((tmp_path / output / "evaluation/val/retention.json").read_text())
    assert {"before", "after"} <= retention["detection/box_ap"].keys()
    assert (tmp_path / output / "evaluation/kept/retention.json").is_file()
    last = shlex.split(ended.out.splitlines()[-1].partition(":")[2])
    assert last[:2] == ["glipv2", "predict"]
    found = glipv2(tmp_path, *last[1:], "threshold=0")
    assert found.code == 0, found.err
    content = json.loads((tmp_path / "predictions/predictions.json").read_text())
    assert content["categories"] == [{"id": 5, "name": "thing"}]
    from_checkpoint = glipv2(
        tmp_path, *last[1:], "threshold=0", f"weights={output}/checkpoints/last.ckpt", "output=of_checkpoint"
    )
    assert from_checkpoint.code == 0, from_checkpoint.err
    assert json.loads((tmp_path / "of_checkpoint/predictions.json").read_text()) == content


def test_a_plan_of_the_first_images_is_for_them(weights: Path, tmp_path: Path, glipv2: Command) -> None:
    path = write_photos(tmp_path / "photos")
    words = (f"data={path}", f"weights={weights}", "data.first=1", "trainer.progress=false", "--plan")
    ended = glipv2(tmp_path, "finetune", *words)
    assert ended.code == 0, ended.err
    assert "1 images to train on, 1 to validate on" in ended.out
    assert "data.batch_size=1 " in ended.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("keep", "message"),
    [("nope.json", "keep=nope.json: nope.json does not exist"), ("empty", "keep=empty: ")],
)
def test_what_is_to_be_kept_is_looked_at_before_the_training(
    weights: Path, tmp_path: Path, glipv2: Command, keep: str, message: str
) -> None:
    path = write_photos(tmp_path / "photos")
    (tmp_path / "empty").mkdir()
    ended = glipv2(tmp_path, "finetune", f"data={path}", f"weights={weights}", f"keep={keep}", "--plan")
    assert ended.code == 2
    assert message in ended.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("weights=x",), "data is not set"),
        (("data=x",), "weights is not set"),
        (("data=x", "weights"), "expected KEY=VALUE"),
        (("data=missing", "weights=missing"), "no such file or run folder"),
    ],
)
def test_words_that_lack_something_are_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, glipv2: Command
) -> None:
    ended = glipv2(tmp_path, "finetune", *words)
    assert ended.code == 2
    assert message in ended.err


def test_faulty_data_is_refused_with_its_first_fault(weights: Path, tmp_path: Path, glipv2: Command) -> None:
    path = write_photos(tmp_path / "photos")
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 77
    path.write_text(json.dumps(content))
    ended = glipv2(tmp_path, "finetune", f"data={path}", f"weights={weights}", "--plan")
    assert ended.code == 2
    assert "E106" in ended.err and "data.on_error=skip" in ended.err


def test_the_model_of_weights_takes_no_other_settings(tmp_path: Path, glipv2: Command) -> None:
    ended = glipv2(tmp_path, "train", "model=as_weights", "output=run")
    assert ended.code == 2 and "give weights=" in ended.err
    ended = glipv2(tmp_path, "train", "model=as_weights", "weights=x", "model.image.width=8", "output=run")
    assert ended.code == 2 and "leave out model.KEY=" in ended.err
