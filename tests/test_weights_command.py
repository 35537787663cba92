"""Claims about `glipv2 weights`: what it reads, what it writes, and what it says when a file is not as expected."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from glipv2.checkpoints import read_checkpoint, record_of, save_weights
from glipv2.models.released import translate
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionTask

Command = Callable[..., Any]
NAME = "regions.words.weight"
FILE_NAME = "rpn.head.dot_product_projection_text.weight"


def done(ended: Any) -> str:
    """The output of a command that went well."""
    assert ended.code == 0, ended.err
    return str(ended.out)


def refused(ended: Any) -> str:
    """The one line of a command that refused."""
    assert ended.code == 2, ended
    lines = [line for line in ended.err.splitlines() if line]
    assert len(lines) == 1, ended.err
    return str(lines[0]).removeprefix("error: ")


def listed(out: str, heading: str) -> list[str]:
    """The indented lines under a heading such as `not used: 2`, as many as it says."""
    lines = out.splitlines()
    (start,) = [index for index, line in enumerate(lines) if line.startswith(f"{heading}: ")]
    names = []
    for line in lines[start + 1 :]:
        if not line.startswith("  "):
            break
        names.append(line.strip())
    assert len(names) == int(lines[start].split(": ")[1])
    return names


@pytest.fixture
def own(task: DetectionTask, tmp_path: Path) -> Path:
    """A file of this project with a vocabulary of its own."""
    path = tmp_path / "own.safetensors"
    save_weights(path, task.state_dict(), record_of(task.model_config, task.config, Vocabulary(("cup", "dog"), (7, 9))))
    return path


# Import


def test_a_released_file_becomes_one_of_this_projects(
    glipv2: Command, glip: Path, cut_glip: Any, tmp_path: Path
) -> None:
    out = done(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", "out.safetensors"))
    found = load_file(tmp_path / "out.safetensors")
    expected = translate(cut_glip.tensors()).tensors
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        record = json.loads(file.metadata()["glipv2"])
    assert (record["task"], record["model"]["name"]) == ("detection", "glip_t")
    assert record["model"]["fusion"]["reread_offsets"]
    assert record["model"]["regions"]["inclusive_boxes"]
    assert len(record["vocabulary"]["names"]) == 80
    assert record["vocabulary"]["category_ids"][-1] == 90
    assert re.search(r"^kind +released GLIP-T$", out, re.MULTILINE)
    assert re.search(r"^taken from +'model'$", out, re.MULTILINE)
    assert hashlib.sha256((tmp_path / "out.safetensors").read_bytes()).hexdigest() in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["glip.pth", "out.safetensors"]


def test_every_name_that_is_not_used_is_listed(glipv2: Command, glip: Path, tmp_path: Path) -> None:
    content = torch.load(glip)
    extra = {f"module.extra.{index}": torch.ones(1) for index in range(30)}
    deeper = {"module.backbone.body.layers.0.blocks.7.norm1.weight": torch.ones(24)}
    torch.save({"model": {**content["model"], **extra, **deeper}}, glip)
    out = done(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", "out.safetensors"))
    names = listed(out, "not used")
    assert set(extra) <= set(names)
    assert "module.rpn.head.cls_logits.weight" in names
    assert "module.language_backbone.body.model.embeddings.position_ids" in names
    assert "core.image.backbone.layers_0.blocks.7.norm1.weight" in names
    assert len(names) == 30 + 1 + 5
    assert listed(out, "not in the file") == []
    assert listed(out, "of another shape") == []


def test_averaged_weights_are_taken_on_request_alone(
    glipv2: Command, glip: Path, cut_glip: Any, tmp_path: Path
) -> None:
    done(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", "plain.safetensors"))
    out = done(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", "averaged.safetensors", "--ema"))
    assert "'model_ema'" in out
    name = f"module.{FILE_NAME}".removeprefix("module.")
    assert torch.equal(load_file(tmp_path / "plain.safetensors")[NAME], cut_glip.tensors()[name])
    assert torch.equal(load_file(tmp_path / "averaged.safetensors")[NAME], cut_glip.tensors(seed=1)[name])
    torch.save({"model": torch.load(glip)["model"]}, glip)
    message = refused(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", "x.safetensors", "--ema"))
    assert "expected averaged weights under model_ema" in message


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes_change_nothing(
    glipv2: Command, cut_glip: Any, tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    tensors = {prefix + name: value for name, value in cut_glip.tensors().items()}
    torch.save(tensors if wrapper is None else {wrapper: tensors}, tmp_path / "glip.pth")
    done(glipv2(tmp_path, "weights", "import", "glip.pth", "-o", "out.safetensors"))
    assert torch.equal(load_file(tmp_path / "out.safetensors")[NAME], cut_glip.tensors()[FILE_NAME])


@pytest.mark.parametrize("spoilt", ["missing", "misshapen"])
def test_a_file_that_does_not_fill_the_model_is_imported_on_request_alone(
    glipv2: Command, cut_glip: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, spoilt: str
) -> None:
    tensors = cut_glip.tensors()
    tensors.pop("rpn.head.centerness.bias")
    if spoilt == "missing":
        tensors.pop(FILE_NAME)
    else:
        tensors[FILE_NAME] = torch.ones(32, 17)
    torch.save(tensors, tmp_path / "glip.pth")
    words = ("weights", "import", "glip.pth", "-o", "out.safetensors")
    ended = glipv2(tmp_path, *words)
    assert "nothing was written; --partial starts them fresh" in refused(ended)
    assert not (tmp_path / "out.safetensors").exists()
    lost = ["regions.centerness.bias", *([NAME] if spoilt == "missing" else [])]
    assert sorted(listed(ended.out, "not in the file")) == sorted(lost)
    assert listed(ended.out, "of another shape") == (
        [] if spoilt == "missing" else [f"{NAME} (expected [32, 16], found [32, 17])"]
    )
    done(glipv2(tmp_path, *words, "--partial"))
    checkpoint = read_checkpoint(tmp_path / "out.safetensors")
    assert set(checkpoint.fresh) == {NAME, "regions.centerness.bias"}
    assert checkpoint.tensors[NAME].shape == (32, 16)
    assert checkpoint.tensors[NAME].std() > 0
    assert torch.equal(checkpoint.tensors["regions.word_bias"], tensors["rpn.head.bias_lang"])
    with caplog.at_level(logging.WARNING):
        checkpoint.build()
    assert "2 tensors were in no file and hold random numbers" in caplog.text
    again = done(glipv2(tmp_path, "weights", "info", "out.safetensors"))
    assert re.search(rf"^started fresh 2 tensors: .*{re.escape(NAME)}", again, re.MULTILINE)


def test_a_checkpoint_of_this_project_is_imported_bit_by_bit(glipv2: Command, own: Path, tmp_path: Path) -> None:
    done(glipv2(tmp_path, "weights", "import", "own.safetensors", "-o", "again.safetensors"))
    assert (tmp_path / "again.safetensors").read_bytes() == own.read_bytes()
    with safe_open(own, "pt") as file:
        record = file.metadata()["glipv2"]
    torch.save({"state_dict": load_file(own), "glipv2": record, "epoch": 3}, tmp_path / "last.ckpt")
    done(glipv2(tmp_path, "weights", "import", "last.ckpt", "-o", "from_ckpt.safetensors"))
    assert (tmp_path / "from_ckpt.safetensors").read_bytes() == own.read_bytes()


def test_a_run_folder_is_imported_too(glipv2: Command, own: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    own.rename(tmp_path / "run/weights.safetensors")
    done(glipv2(tmp_path, "weights", "import", "run", "-o", "out.safetensors"))
    assert read_checkpoint(tmp_path / "out.safetensors").vocabulary == Vocabulary(("cup", "dog"), (7, 9))


def test_a_tokenizer_is_kept_with_the_weights(glipv2: Command, glip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    words = ("weights", "import", "glip.pth", "-o", "out.safetensors")
    done(glipv2(tmp_path, *words, "--tokenizer", "bert"))
    kept = read_checkpoint(tmp_path / "out.safetensors").model.tokenizer
    assert kept.source.startswith("carried:")  # inside the file, wherever the folder goes
    assert kept.build().encode(["cab"])[0].token_ids == (2, 1, 3)
    (folder / "more.txt").write_text("\n".join([*pieces, *(f"piece{index}" for index in range(800))]))
    message = refused(glipv2(tmp_path, *words, "--force", "--tokenizer", "bert/more.txt"))
    assert "has 813 pieces, the text encoder's embedding 763 rows" in message


def test_a_tokenizer_that_can_not_be_had_is_named_and_no_reason_to_refuse(
    glipv2: Command, task: DetectionTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tokenizer = replace(task.model_config.tokenizer, source="some/encoder")
    model = replace(task.model_config, tokenizer=tokenizer)
    record = record_of(model, task.config, Vocabulary(("cup",)), carry_tokenizer=False)
    save_weights(tmp_path / "own.safetensors", task.state_dict(), record)
    words = ("weights", "import", "own.safetensors", "-o", "out.safetensors")
    assert "tokenizer 'some/encoder' can't be had here" in done(glipv2(tmp_path, *words))
    assert read_checkpoint(tmp_path / "out.safetensors").model.tokenizer.source == "some/encoder"


def test_mmdetections_files_are_imported(glipv2: Command, cut_glip: Any, tmp_path: Path) -> None:
    theirs = {
        name.replace("rpn.", "bbox_head.").replace("language_backbone.", "language_model.language_backbone.")
        if not name.startswith("backbone.")
        else name.replace("backbone.body.", "backbone.").replace("backbone.layers.", "backbone.stages."): value
        for name, value in cut_glip.tensors().items()
    }
    torch.save({"state_dict": theirs, "meta": {"epoch": 1}}, tmp_path / "mmdet.pth")
    ended = glipv2(tmp_path, "weights", "import", "mmdet.pth", "-o", "out.safetensors", "--partial")
    assert re.search(r"^kind +released GLIP-T, as mmdetection spells it$", done(ended), re.MULTILINE)
    assert torch.equal(load_file(tmp_path / "out.safetensors")["regions.word_bias"], theirs["bbox_head.head.bias_lang"])


# Info


def test_info_tells_everything_about_a_released_file(glipv2: Command, glip: Path, tmp_path: Path) -> None:
    out = done(glipv2(tmp_path, "weights", "info", "glip.pth"))
    lines = {line[:12].strip(): line[13:] for line in out.splitlines()}
    assert lines["kind"] == "released GLIP-T"
    assert lines["model"] == "glip_t (reread offsets: yes, inclusive boxes: yes, last pixels: yes, blue first: yes)"
    assert lines["task"] == "detection"
    assert lines["vocabulary"].startswith("80 names: person, bicycle, car,")
    assert lines["taken from"] == "'model'; also in the file: model_ema, optimizer, iteration"
    assert lines["sha256"] == hashlib.sha256(glip.read_bytes()).hexdigest()
    tensors = torch.load(glip)["model"].values()
    assert lines["tensors"].startswith(f"{len(tensors)} tensors, ")
    assert lines["file"].startswith("glip.pth (")


def test_info_tells_a_checkpoint_of_this_project(glipv2: Command, own: Path, tmp_path: Path) -> None:
    out = done(glipv2(tmp_path, "weights", "info", "own.safetensors"))
    assert re.search(r"^kind +checkpoint of this project$", out, re.MULTILINE)
    assert re.search(r"^model +tiny \(reread offsets: no", out, re.MULTILINE)
    assert re.search(r"^vocabulary +2 names: cup, dog$", out, re.MULTILINE)
    assert re.search(r"^taken from +the top of the file$", out, re.MULTILINE)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["layers.0.downsample.reduction.weight"], "Swin backbone in the official layout; give it as model.image"),
        (["layers.0.blocks.0.attn.qkv.weight"], "Swin backbone in timm's layout; give it as model.image.weights=FILE"),
        (["bert.encoder.layer.0.attention.self.key.bias"], "BERT text encoder; give it as model.text.weights=FILE"),
        (["conv1.weight"], "file of no kind known here; give a file or run that glipv2 wrote"),
    ],
)
def test_info_tells_other_files_by_their_names(glipv2: Command, tmp_path: Path, names: list[str], kind: str) -> None:
    torch.save({"model": {name: torch.ones(2) for name in names}}, tmp_path / "other.pth")
    out = done(glipv2(tmp_path, "weights", "info", "other.pth"))
    assert f"kind         {kind}" in out
    assert f"first names  {names[0]}" in out
    assert "1 tensors, 0.00 M numbers" in out


# What users get wrong


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("there.safetensors", "exists already; choose another name, or --force to write over it"),
        ("out.pth", "expected a name ending in .safetensors; write out.safetensors"),
        ("out", "expected a name ending in .safetensors; write out.safetensors"),
        ("nowhere/out.safetensors", "no folder nowhere; make it first"),
        (".", "is a folder; name the file to write, weights.safetensors"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused_before_anything_is_read(
    glipv2: Command, tmp_path: Path, output: str, message: str
) -> None:
    (tmp_path / "there.safetensors").write_text("mine")
    ended = glipv2(tmp_path, "weights", "import", "missing.pth", "-o", output)
    assert refused(ended) == f"-o {output}: {message}"
    assert [path.name for path in tmp_path.iterdir()] == ["there.safetensors"]


def test_force_writes_over_what_is_there(glipv2: Command, own: Path, tmp_path: Path) -> None:
    (tmp_path / "there.safetensors").write_text("mine")
    done(glipv2(tmp_path, "weights", "import", "own.safetensors", "-o", "there.safetensors", "--force"))
    assert (tmp_path / "there.safetensors").read_bytes() == own.read_bytes()


class Bomb:
    """An object whose unpickling makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_files_that_can_not_be_imported_are_refused_in_one_line(glipv2: Command, glip: Path, tmp_path: Path) -> None:
    def attempt(name: str) -> str:
        message = refused(glipv2(tmp_path, "weights", "import", name, "-o", "out.safetensors"))
        assert not (tmp_path / "out.safetensors").exists()
        return message

    assert "missing.pth: no such file or run folder" in attempt("missing.pth")
    (tmp_path / "folder").mkdir()
    assert "the folder holds neither weights.safetensors nor" in attempt("folder")
    (tmp_path / "cut.pth").write_bytes(glip.read_bytes()[:3000])
    assert "cut.pth: not a readable weights file" in attempt("cut.pth")
    assert "copy or download it again" in attempt("cut.pth")
    torch.save({"model": {}, "extra": Bomb(tmp_path / "touched")}, tmp_path / "bomb.pth")
    assert "loading them could run code; ask its author for a .safetensors file" in attempt("bomb.pth")
    assert not (tmp_path / "touched").exists()
    torch.save({"model": {"layers.0.downsample.reduction.weight": torch.ones(2)}}, tmp_path / "swin.pth")
    assert "a Swin backbone in the official layout; give it as model.image.weights=FILE" in attempt("swin.pth")
    torch.save({"encoder.layer.0.attention.self.key.bias": torch.ones(2)}, tmp_path / "bert.bin")
    assert "a BERT text encoder; give it as model.text.weights=FILE" in attempt("bert.bin")
    torch.save({"model": {"rpn.head.dyhead_tower.0.offset.bias": torch.ones(2)}}, tmp_path / "half.pth")
    assert "half.pth: expected the tensors of a released GLIP-T" in attempt("half.pth")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["import", "a.pth"], "the following arguments are required: -o/--output"),
        (["import", "a.pth", "-o"], "expected one argument"),
        (["export"], "invalid choice: 'export'"),
        (["info", "a.pth", "--partial"], "unrecognized arguments: --partial"),
    ],
)
def test_wrong_words_are_refused_in_one_line(glipv2: Command, tmp_path: Path, words: list[str], message: str) -> None:
    assert message in refused(glipv2(tmp_path, "weights", *words))


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_shows_both_actions(glipv2: Command, tmp_path: Path, words: list[str]) -> None:
    out = done(glipv2(tmp_path, "weights", *words))
    assert "glipv2 weights import glip_tiny_model_o365_goldg_cc_sbu.pth -o glip_t.safetensors" in out
    assert "info" in out
