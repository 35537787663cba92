"""Claims about captioning: what was learned is written, taught and scored as it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from captioners import (
    batch_of,
    built,
    levels_of,
    pictures,
    predicted,
)
from PIL import Image
from torch.testing import assert_close

from glipv2.config import SCHEMAS
from glipv2.data.mixing import RoutedBatch
from glipv2.data.shapes import ShapesDataset
from glipv2.data.sources import ShapesData
from glipv2.data.transforms import ExampleDataset
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig, Parts
from glipv2.models.generation import GenerationConfig
from glipv2.optim import OptimConfig
from glipv2.report.gallery import side_by_side
from glipv2.structures import Vocabulary
from glipv2.tasks.captioning import CaptioningConfig, CaptioningTask
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.joint import JointConfig

# Writing


def test_a_search_encodes_its_images_once(plain: CaptioningTask, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"image": 0, "tower": 0, "text": 0}

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls[name] += 1
            return function(*arguments)

        return call

    layer = plain.core.fusion.layers[0]
    monkeypatch.setattr(plain.core.image, "forward", counted("image", plain.core.image.forward))
    monkeypatch.setattr(layer.image, "forward", counted("tower", layer.image.forward))
    monkeypatch.setattr(plain.core.text, "causal", counted("text", plain.core.text.causal))
    predicted(plain, pictures([(64, 64)] * 3))
    assert calls["image"] == calls["tower"] == 1
    assert calls["text"] > 3


def test_neither_padding_nor_neighbours_change_a_caption(captioner: CaptioningTask) -> None:
    images = pictures()
    together = predicted(captioner, images)
    for picture, found in zip(images, together, strict=True):
        (alone,) = predicted(captioner, [picture])
        assert alone.text == found.text
        assert alone.probability == pytest.approx(found.probability, rel=1e-3)
        assert found.image_size == tuple(picture.shape[1:])


def test_a_search_of_one_request_does_not_stay(plain: CaptioningTask) -> None:
    predictor = Predictor(plain, "cpu")
    picture = pictures()[0]
    first = predictor.caption(picture)
    assert predictor.caption(picture, beams=1).probability <= 1
    assert predictor.caption(picture).probability == first.probability
    with pytest.raises(UserError, match="at least 1 beam"):
        predictor.caption(picture, beams=0)


def test_special_tokens_are_never_written(plain: CaptioningTask) -> None:
    levels = levels_of(plain)
    for sentence in plain.writer.sentences(levels, GenerationConfig(beams=2, max_length=12)):
        assert not set(sentence.token_ids) & plain.writer.tokenizer.special_ids
        assert 1 <= len(sentence.token_ids) <= 12


def test_a_caption_asks_for_no_text(plain: CaptioningTask) -> None:
    assert plain.request(" ") == plain.config.generation
    with pytest.raises(UserError, match="captioning writes the text itself, but got text='a dog'"):
        plain.request("a dog")


# Training


def test_an_image_may_have_several_captions_or_one_that_is_drawn(model_config: ModelConfig) -> None:
    every = built(model_config, captions_per_image=0)
    dataset = ShapesDataset("val", 2, image_size=64, captions_per_scene=3)
    examples = ExampleDataset(dataset, model_config.pixels, None)
    collate = every.config.collator(model_config, ShapesData(), dataset, training=True)
    batch = collate([examples[0], examples[1]])
    assert batch.image_rows.tolist() == [0, 0, 0, 1, 1, 1]
    found = every.losses(batch).terms["captions"]
    drawn = replace(every.config, captions_per_image=1).collator(model_config, ShapesData(), dataset, training=True)
    assert drawn([examples[0], examples[1]]).image_rows.tolist() == [0, 1]
    singles = [every.losses(collate([examples[index]])).terms["captions"] for index in (0, 1)]
    assert min(singles) <= found <= max(singles)


def test_the_loss_is_that_of_every_next_word_and_the_end(plain: CaptioningTask) -> None:
    plain.config.label_smoothing = 0.0
    batch = batch_of([0], plain)
    text = batch.prompts.text
    (count,) = text.token_mask.sum(dim=1).tolist()
    path = plain.core.image_path(plain.core.image(batch.images.pixels))
    scores = plain.writer.logits(path, text, text.token_mask).log_softmax(dim=-1)
    wanted = text.token_ids[0, 1:count]
    assert int(wanted[-1]) == plain.writer.tokenizer.end_id
    expected = -scores[:-1].gather(1, wanted[:, None]).mean()
    assert_close(plain.losses(batch).terms["captions"], expected, atol=1e-5, rtol=1e-5)


def test_smoothing_and_weight_are_configured(plain: CaptioningTask) -> None:
    batch = batch_of([0, 1], plain)
    smooth = plain.losses(batch).terms["captions"]
    plain.config.label_smoothing = 0.0
    sharp = plain.losses(batch).terms["captions"]
    assert not torch.isclose(smooth, sharp)
    plain.loss = replace(plain.loss, captions=0.5)
    assert_close(plain.losses(batch).terms["captions"], sharp / 2)


def test_captioning_and_detection_train_one_core(model_config: ModelConfig) -> None:
    config = JointConfig(weights={"detection": 1.0, "captioning": 1.0})
    task = config.build(model_config, LossConfig.grounding_only())
    assert {name for name, _ in task.named_children()} == {"core", "regions", "words"}
    writing = task.subtasks()["captioning"]
    assert isinstance(writing, CaptioningTask)
    report = task.losses(RoutedBatch("captioning", batch_of([0, 1], writing)))
    assert set(report.terms) == {"captioning/captions"}
    report.total.backward()
    assert writing.core.text.embeddings.grad is not None


def test_a_grounded_captioner_learns_boxes_and_finds_them(model_config: ModelConfig) -> None:
    task = built(model_config, grounded=True, generation=GenerationConfig(beams=2, max_length=8))
    assert {name for name, _ in task.named_children()} == {"core", "words", "regions"}
    report = task.losses(batch_of([0, 1, 2], task))
    assert set(report.terms) == {"captions", "alignment", "box", "centerness"}
    report.total.backward()
    assert task.regions.box_deltas.weight.grad is not None
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    for found in predicted(task, pictures()):
        assert found.grounded.spans
        for (begin, end), *_ in found.grounded.spans:
            assert found.text[begin:end].strip()
        assert len(found.grounded.boxes)
        height, width = found.image_size
        assert (found.grounded.boxes <= torch.tensor([width, height, width, height]) + 1e-3).all()
        assert not len(found.above(2.0).grounded.boxes)


def test_nothing_is_grounded_unless_asked(plain: CaptioningTask) -> None:
    assert {name for name, _ in plain.named_children()} == {"core", "words"}
    (found,) = predicted(plain, pictures()[:1])
    assert found.grounded.spans == ()
    assert found.to_records(7) == [{"image_id": 7, "caption": found.text, "score": found.probability}]
    assert found.lines() == [(found.text, f"{found.probability:.3f}", "")]


def test_a_caption_stands_below_its_picture(plain: CaptioningTask) -> None:
    batch = batch_of([0], plain, training=False)
    (found,) = plain.predictions(batch)
    drawn = found.draw(Image.new("RGB", (64, 64)))
    assert drawn.width == 64 and drawn.height > 64
    sample = ShapesDataset("val", 1, image_size=64)[0]
    assert side_by_side(sample.image, batch.truth[0], found).height > 320


# What is refused


def test_a_model_without_cross_attention_is_refused(model_config: ModelConfig) -> None:
    blind = replace(model_config, fusion=replace(model_config.fusion, cross_attention=False))
    with pytest.raises(UserError, match="model=tiny can't write captions: without cross-attention"):
        CaptioningConfig().build(blind, LossConfig.grounding_only())


def test_an_encoder_that_lets_later_words_through_is_refused(
    model_config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(model_config)
    monkeypatch.setattr(parts.core.text, "causal", parts.core.text.forward)
    with pytest.raises(UserError, match="'bert' can't write captions: its words see those that come after"):
        CaptioningConfig().assemble(parts, LossConfig.grounding_only())


def test_what_cannot_be_searched_or_learned_is_refused(model_config: ModelConfig) -> None:
    with pytest.raises(UserError, match="max_length is 255, but the model reads at most 254 tokens"):
        built(model_config, generation=GenerationConfig(max_length=255))
    config, data = CaptioningConfig(grounded=True), ShapesData()
    data.augment.crop = 0.5
    with pytest.raises(UserError, match="a cropped image may lack what its caption says"):
        config.collator(model_config, data, data.dataset("val"), training=True)


def test_weights_that_never_wrote_are_told_so(model_config: ModelConfig) -> None:
    task = DetectionConfig().build(model_config, LossConfig.grounding_only())
    task.vocabulary = Vocabulary(("dog",))
    with pytest.raises(UserError, match=r"weights trained for detection can't do captioning: .* no 'words' part"):
        Predictor(task, "cpu").caption(pictures()[0])


# Scores


def test_truth_scores_high_and_other_scenes_low(plain: CaptioningTask) -> None:
    batch = batch_of(list(range(12)), plain, training=False)
    found = plain.predictions(batch)
    spoken = [
        replace(one, grounded=replace(one.grounded, text=truth.captions[0].text))
        for one, truth in zip(found, batch.truth, strict=True)
    ]
    plain.reset_metric(ShapesDataset("val", 12, image_size=64))
    plain.update_metric(spoken, batch)
    scores = plain.compute_metric().flat("captioning")
    assert scores["captioning/bleu_4"] == pytest.approx(1, abs=1e-6)
    assert scores["captioning/rouge_l"] == pytest.approx(1)
    assert scores[plain.config.monitor] > 4 * scores["captioning/cider_d_other_scene"] > 0
    assert scores[plain.config.monitor] <= plain.config.best
    plain.reset_metric(ShapesDataset("val", 12, image_size=64))
    plain.update_metric([spoken[1]], replace(batch, truth=batch.truth[:1]))
    assert plain.compute_metric().flat("captioning")["captioning/cider_d_other_scene"] == -1


def test_the_task_is_one_of_the_choices() -> None:
    assert SCHEMAS["task"]["captioning"] is CaptioningConfig
    assert isinstance(SCHEMAS["task"]["joint"]().captioning, CaptioningConfig)


def test_scenes_are_judged_by_five_captions_and_taught_by_one() -> None:
    data = ShapesData(image_size=64)
    needs = CaptioningConfig.needs
    assert len(data.dataset("val", needs)[3].captions) == 5
    assert len(data.dataset("train", needs)[3].captions) == 1
    one, five = data.dataset("val", frozenset({"questions"}))[3], data.dataset("val", needs)[3]
    assert one.captions == five.captions[:1]
    assert one.questions == five.questions


@pytest.mark.slow
def test_one_batch_is_learned_by_heart(model_config: ModelConfig) -> None:
    torch.manual_seed(0)
    config = CaptioningConfig(label_smoothing=0.0, generation=GenerationConfig(beams=2))
    model = replace(model_config, fusion=replace(model_config.fusion, deformable=False))
    task = config.build(model, LossConfig.grounding_only())
    assert isinstance(task, CaptioningTask)
    batch = batch_of(range(3), task)
    optimizer, _ = OptimConfig(lr=4e-3, text_lr_factor=1.0, warmup_steps=10).build(task, 300)
    for _ in range(300):
        loss = task.losses(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.1:
            break
    found = task.eval().predictions(batch)
    assert [one.text for one in found] == [prompt.text for prompt in batch.texts]


@pytest.mark.slow
def test_a_run_writes_captions_from_training_to_prediction(glipv2: Callable[..., Any], tmp_path: Path) -> None:
    tiny = ["model=nano", "model.pixels.short_side=64", "data.image_size=64", "data.batch_size=2", "data.workers=0"]
    tiny += ["data.eval_scenes=4", "trainer.accelerator=cpu", "trainer.max_steps=2", "tracking=off", "output=run"]
    grounded = [
        "task=captioning",
        "task.grounded=true",
        "task.generation.max_length=6",
        "task.selection.min_probability=0",
    ]
    ended = glipv2(tmp_path, "train", *tiny, *grounded)
    assert ended.code == 0, ended.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"captioning/cider_d", "captioning/bleu_4", "captioning/cider_d_other_scene"} <= set(metrics)
    assert len(list((tmp_path / "run/gallery/val").iterdir())) == 4
    (tmp_path / "photos").mkdir()
    for name, size in (("first", (90, 60)), ("second", (50, 70))):
        Image.new("RGB", size, "red").save(tmp_path / "photos" / f"{name}.png")
    ended = glipv2(tmp_path, "predict", "weights=run", "images=photos", "threshold=0")
    assert ended.code == 0, ended.err
    written = json.loads((tmp_path / "predictions/predictions.json").read_text())
    assert written["task"] == "captioning"
    assert [record["file_name"] for record in written["annotations"]] == ["first.png", "second.png"]
    assert all(record["caption"] and "phrases" in record for record in written["annotations"])
    assert glipv2(tmp_path, "predict", "weights=run", "images=photos", "text=a dog").code == 2
