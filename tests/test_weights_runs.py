"""Claims about what is done with imported weights: they predict, are evaluated, and begin trainings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open

import glipv2 as package
from glipv2.checkpoints import read_checkpoint
from glipv2.models.released import translate
from glipv2.tasks.detection import DetectionConfig

Command = Callable[..., Any]


def done(ended: Any) -> str:
    """The output of a command that went well."""
    assert ended.code == 0, ended.err
    return str(ended.out)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)).save(path)
    return path


# Using what was imported


def test_imported_and_released_files_predict_the_same(glipv2: Command, glip: Path, photo: Path, tmp_path: Path) -> None:
    done(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", "out.safetensors"))
    found = []
    for weights in ("out.safetensors", "glip.pth"):
        words = (f"weights={weights}", "images=photo.png", "text=a red circle. a dog.", "threshold=0", "draw=false")
        done(glipv2(tmp_path, "predict", *words, f"output={weights}_found", "device=cpu"))
        found.append(json.loads((tmp_path / f"{weights}_found/predictions.json").read_text()))
    assert found[0] == found[1]
    assert found[0]["annotations"]


def test_the_python_face_takes_both_and_knows_cocos_names(glip: Path, photo: Path) -> None:
    model = package.load(glip, device="cpu")
    assert len(model.vocabulary) == 80
    assert model.task.model_config.pixels.bgr
    assert model.detect(photo, ["red circle"]).image_size == (60, 90)


# Training from what was imported


TRAIN = (
    "model=glip_t", "model.tokenizer.source=builtin", "model.pixels.short_side=64", "model.pixels.max_long_side=64",
    "+model.image.options.embed_dim=24", "+model.image.options.depths=[1,1,2,1]",
    "+model.image.options.num_heads=[1,2,3,4]", "model.image.width=32", "model.fusion.layers=2",
    "model.fusion.attention_width=32", "model.fusion.heads=2", "model.fusion.text_heads=2",
    "model.fusion.text_feedforward=32", "data=shapes", "data.image_size=64", "data.batch_size=2", "data.workers=0",
    "data.eval_scenes=2", "data.eval_batch_size=2", "trainer.accelerator=cpu", "trainer.max_steps=1", "tracking=off",
    "optim.lr=0", "optim.weight_decay=0",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["out.safetensors", "glip.pth"])
def test_training_from_imported_weights_keeps_their_conventions(
    glipv2: Command, glip: Path, tmp_path: Path, weights: str
) -> None:
    if weights == "out.safetensors":
        done(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", weights))
    ended = glipv2(tmp_path, "train", *TRAIN, f"weights={weights}", "output=run")
    done(ended)
    assert f"taken over with the weights of {weights}: fusion.reread_offsets=True" in ended.out + ended.err
    model = yaml.safe_load((tmp_path / "run/config.yaml").read_text())["model"]
    assert model["fusion"]["reread_offsets"]
    assert model["regions"]["inclusive_boxes"]
    assert not model["image"]["pretrained"]
    trained = read_checkpoint(tmp_path / "run")
    assert trained.model.fusion.reread_offsets
    expected = translate(torch.load(glip)["model"]).tensors
    assert all(torch.equal(value, expected[name]) for name, value in trained.tensors.items())
    assert isinstance(trained.task, DetectionConfig)
    words = [word for word in TRAIN if "max_steps" not in word]
    done(glipv2(tmp_path, "train", *words, "trainer.max_steps=2", "resume=run", "output=longer"))
    assert read_checkpoint(tmp_path / "longer").model.regions.inclusive_boxes


def test_evaluation_takes_a_released_file(glipv2: Command, glip: Path, tmp_path: Path) -> None:
    words = ("data=shapes", "data.image_size=64", "data.eval_scenes=2", "data.workers=0", "trainer.accelerator=cpu")
    done(glipv2(tmp_path, "evaluate", "weights=glip.pth", "output=scores", *words))
    assert "detection/box_ap" in json.loads((tmp_path / "scores/metrics.json").read_text())


# The real size


@pytest.fixture
def passing_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for gigabytes, gone after the test."""
    folder = tmp_path / "large"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_full_size_glip_t_is_imported_and_predicts(
    glipv2: Command, glip_sizes: dict[str, Any], photo: Path, passing_folder: Path
) -> None:
    folder = passing_folder
    tensors = glip_sizes["glip_t"].tensors()
    tensors["language_backbone.body.model.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save({"model": {f"module.{name}": value for name, value in tensors.items()}}, folder / "glip.pth")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", ".", *(f"piece{index}" for index in range(30516))]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    out = done(glipv2(folder, "weights", "import", "glip.pth", "-o", "out.safetensors", "--tokenizer", "vocab.txt"))
    assert "written to out.safetensors: 722 tensors, 231.76 M numbers" in out
    assert "not used: 5" in out
    expected = translate(tensors).tensors
    with safe_open(folder / "out.safetensors", "pt") as file:
        assert set(file.keys()) == set(expected)
        assert all(torch.equal(file.get_tensor(name), value) for name, value in expected.items())
    words = ("weights=out.safetensors", f"images={photo}", "text=a dog", "threshold=0", "draw=false", "device=cpu")
    done(glipv2(folder, "predict", *words))
    assert json.loads((folder / "predictions/predictions.json").read_text())["images"][0]["width"] == 90
