"""Claims about pseudo-labels: what is read, what is kept, and that work that was cut off is gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from killed import dies_at, killed
from PIL import Image
from torchvision.transforms.v2.functional import to_pil_image

from glipv2 import labelling
from glipv2.checkpoints import record_of, save_weights
from glipv2.config import LabelConfig, from_words
from glipv2.data.odvg import OdvgGrounding
from glipv2.data.pairs import Pair, read_pairs
from glipv2.data.shapes import ShapesDataset
from glipv2.errors import UserError
from glipv2.labelling import BROKEN, KEPT, NO_PHRASE, TOO_LONG, Labelled, Partial, label
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig

COUNT = 7


@pytest.fixture
def config(tmp_path: Path, model_config: ModelConfig) -> LabelConfig:
    """Seven scenes with a caption each, and a model that knows nothing but is sure of everything."""
    torch.manual_seed(0)
    task = PhraseGroundingConfig().build(model_config, LossConfig.grounding_only())
    samples = ShapesDataset("val", COUNT, image_size=64)
    record = record_of(task.model_config, task.config, samples.vocabulary, ())
    save_weights(tmp_path / "weights.safetensors", task.state_dict(), record)
    lines = []
    for index in range(COUNT):
        to_pil_image(samples[index].image).save(tmp_path / f"scène {index}.png")
        lines.append({"filename": f"scène {index}.png", "caption": samples[index].captions[0].text})
    write_lines(tmp_path / "pairs.jsonl", lines)
    return LabelConfig(
        str(tmp_path / "weights.safetensors"), tmp_path, tmp_path / "pairs.jsonl", tmp_path / "out/labels.jsonl",
        threshold=1e-4, boxes=2, batch_size=2, device="cpu",
    )  # fmt: skip


def write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(own, ensure_ascii=False) + "\n" for own in records), "utf-8")


def test_a_preview_that_no_picture_can_be_is_refused_before_the_work(config: LabelConfig) -> None:
    with pytest.raises(UserError, match=r"expected a picture's name \(\.png, .*but got 'sheet'"):
        label(replace(config, preview=Path("sheet")))
    assert not config.output.exists()


def test_labels_are_read_as_grounded_captions(config: LabelConfig) -> None:
    counts = label(replace(config, preview=config.images / "sheet.png"))
    assert counts[KEPT] == COUNT
    samples = OdvgGrounding(config.output, config.images)
    assert len(samples) == COUNT
    truths = [samples.truth(index) for index in range(COUNT)]
    assert sum(len(truth.boxes) for truth in truths) <= counts["boxes"]
    phrases = [phrase for truth in truths for caption in truth.captions for phrase in caption.phrases]
    assert len(phrases) <= counts["phrases"]
    assert all(1 <= len(phrase.instances) <= 2 for phrase in phrases)
    assert Image.open(config.images / "sheet.png").width > 64
    assert [path.name for path in config.output.parent.iterdir()] == ["labels.jsonl"]


@pytest.mark.parametrize("cut", [b"", b'{"fate": "labelled", "phra', b'{"fate": "x", "phrases": 0, "line": null}\n'])
def test_work_that_was_cut_off_ends_with_the_same_bytes(
    config: LabelConfig, monkeypatch: pytest.MonkeyPatch, cut: bytes
) -> None:
    whole = replace(config, output=config.output.with_name("whole.jsonl"))
    label(whole)
    add, batches = Partial.add, []

    def dies(self: Partial, batch: Sequence[Labelled]) -> None:
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(len(batch))
        add(self, batch)

    monkeypatch.setattr(Partial, "add", dies)
    with pytest.raises(KeyboardInterrupt):
        label(config)
    monkeypatch.setattr(Partial, "add", add)
    assert not config.output.exists()
    partial = config.output.with_name("labels.jsonl.partial")
    with partial.open("ab") as file:
        file.write(cut)  # a batch of which not all was written
    seen = []
    monkeypatch.setattr(Partial, "add", lambda self, batch: (seen.append(len(batch)), add(self, batch)))
    label(config)
    assert seen == [2, 1]  # four were done
    assert config.output.read_bytes() == whole.output.read_bytes()


@pytest.mark.parametrize("owner_and_name", [(Partial, "add"), (labelling.os, "fsync")])
def test_a_labelling_that_is_killed_and_run_again_ends_with_the_same_bytes(
    config: LabelConfig, monkeypatch: pytest.MonkeyPatch, owner_and_name: tuple[Any, str]
) -> None:
    whole = replace(config, output=config.output.with_name("whole.jsonl"))
    label(whole)
    with monkeypatch.context() as patched:
        dies_at(patched, *owner_and_name, 2)
        killed(lambda: label(config))
    assert not config.output.exists()
    label(config)
    assert config.output.read_bytes() == whole.output.read_bytes()


def test_work_begun_with_other_words_is_not_gone_on_with(config: LabelConfig) -> None:
    Partial(config).begun()
    with pytest.raises(
        UserError, match=r"was begun with another threshold; remove it and labels\.jsonl\.partial\.json"
    ):
        label(replace(config, threshold=0.2))
    write_lines(config.captions, [{"filename": "scène 0.png", "caption": "a cup"}])
    with pytest.raises(UserError, match="was begun with another captions"):
        label(config)


def test_captions_without_a_phrase_and_broken_images_are_counted(config: LabelConfig) -> None:
    (config.images / "broken.png").write_bytes(b"no picture")
    write_lines(config.captions, [
        {"filename": "broken.png", "caption": "a red circle"}, {"file_name": "scène 0.png", "caption": "it is over"},
        {"image": "scène 1.png", "caption": "a red circle"}, {"image": "missing.png", "caption": "a cup"},
    ])  # fmt: skip
    with pytest.raises(UserError, match=r"missing\.png is missing from"):
        label(config)
    counts = label(replace(config, on_error="skip"))
    assert (counts[BROKEN], counts[NO_PHRASE], counts[KEPT]) == (1, 1, 1)
    assert counts["records left out (missing image file)"] == 1
    write_lines(config.captions, [{"filename": "broken.png", "caption": "a red circle"}])
    with pytest.raises(UserError, match=r"broken\.png"):
        label(replace(config, output=config.output.with_name("other.jsonl")))


def test_captions_of_the_web_are_read_as_they_stand_and_those_that_are_too_long_are_counted(
    config: LabelConfig,
) -> None:
    asked = "a green star [HD] beside a red circle"
    write_lines(config.captions, [
        {"filename": "scène 0.png", "caption": "a red circle, " * 200}, {"filename": "scène 1.png", "caption": asked},
    ])  # fmt: skip
    counts = label(config)
    assert (counts[TOO_LONG], counts[KEPT]) == (1, 1)
    (line,) = map(json.loads, config.output.read_text("utf-8").splitlines())
    assert line["grounding"]["caption"] == asked
    assert {"green star", "red circle"} <= {own["phrase"] for own in line["grounding"]["regions"]}


def test_an_output_that_is_there_is_never_written_over(config: LabelConfig) -> None:
    label(config)
    with pytest.raises(UserError, match="is there already"):
        label(config)


# The words


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["weights=w", "image=x"], "no key 'image'; did you mean 'images'"),
        (["weights"], "expected KEY=VALUE, but got 'weights'"),
        (["weights=w", "images=i", "captions=c", "output=o.jsonl", "threshold=high"], "threshold|high"),
        (["weights=w"], "captions is not set"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_words(LabelConfig, words)


@pytest.mark.parametrize(
    "change", [{"threshold": 0.0}, {"batch_size": 0}, {"boxes": 0}, {"output": Path("labels.json")}]
)
def test_settings_that_label_nothing_are_refused(config: LabelConfig, change: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="expected"):
        label(replace(config, **change))


def test_the_command_says_what_became_of_the_captions(
    config: LabelConfig, tmp_path: Path, glipv2: Callable[..., Any]
) -> None:
    words = [f"{key}={getattr(config, key)}" for key in ("weights", "images", "captions", "output", "batch_size")]
    ended = glipv2(tmp_path, "data", "label", *words, "threshold=0.0001", "device=cpu")
    assert ended.code == 0, ended.err
    assert f"{COUNT} {KEPT}" in ended.out
    assert config.output.is_file()


# Pairs


def test_pairs_are_read_from_every_form(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 9, "file_name": "b.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 9, "caption": "a cup "},
            {"id": 2, "image_id": 7, "caption": "two, cups"},
        ],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    write_lines(
        tmp_path / "c.jsonl", [{"filename": "b.jpg", "caption": "a cup"}, {"path": "a.jpg", "caption": "two, cups"}]
    )
    (tmp_path / "c.csv").write_text('filename,caption\nb.jpg,a cup\na.jpg,"two, cups"\n')
    (tmp_path / "c.tsv").write_text("caption\timage\na cup\tb.jpg\ntwo, cups\ta.jpg\n")
    for suffix in ("json", "jsonl", "csv", "tsv"):
        pairs, skipped = read_pairs(tmp_path / f"c.{suffix}", tmp_path, "raise")
        assert pairs == [Pair("b.jpg", "a cup"), Pair("a.jpg", "two, cups")], suffix
        assert skipped == {}
    (tmp_path / "c.tsv").write_text('filename\tcaption\na.jpg\t"Stop sign at a corner\nb.jpg\t"Stop" it says\n')
    quoted, _ = read_pairs(tmp_path / "c.tsv", tmp_path, "raise")
    assert quoted == [Pair("a.jpg", '"Stop sign at a corner'), Pair("b.jpg", '"Stop" it says')]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.txt", "a.jpg a cup", "expected COCO captions"),
        ("c.csv", "name,text\na.jpg,a cup\n", "expected columns filename and caption, but got name, text"),
        ("c.jsonl", '{"filename": "a.jpg"', "line 1 is not JSON"),
        ("c.jsonl", "[1]\n", "line 1: expected a file name, but got None"),
        ("c.jsonl", "\n", "no image with a caption"),
        ("c.csv", b"filename,caption\n\xff\xfe,x\n", "can't be read"),
        ("c.json", '{"images": [], "annotations": []}', "no image with a caption"),
    ],
)
def test_files_that_are_no_pairs_are_told(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=message):
        read_pairs(tmp_path / name, tmp_path, "raise")
