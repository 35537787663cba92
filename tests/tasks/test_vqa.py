"""Claims about answering questions: it can learn, accuracy means what it says, answers stay with their weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from glipv2.checkpoints import read_checkpoint, record_of, save_weights
from glipv2.data.shapes import ShapesDataset, answer_vocabulary
from glipv2.data.sources import ShapesData
from glipv2.data.texts import QuestionCollator
from glipv2.data.transforms import ExampleDataset, truth_of
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.text import TextEncoderConfig
from glipv2.optim import OptimConfig
from glipv2.structures import ImageTruth, Question, TextQueryBatch, Vocabulary
from glipv2.structures.grounded import Answer, Answers, GroundedText
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.vqa import VqaConfig, VqaTask, answer_truths

IMAGES = 4
NO_BOXES = GroundedText("?", (), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def built(model: ModelConfig, answers: Sequence[str] = ("yes", "no", "red", "2", "ring", "cup")) -> VqaTask:
    torch.manual_seed(0)
    task = VqaConfig().build(model, LossConfig.grounding_only(), answers).eval()
    assert isinstance(task, VqaTask)
    task.vocabulary = Vocabulary(("red circle",))
    return task


def said(texts: Sequence[str], size: tuple[int, int] = (96, 96)) -> Answers:
    return Answers(size, tuple(Answer(NO_BOXES, (text,), (1.0,)) for text in texts))


def measured(task: VqaTask, truths: Sequence[ImageTruth], found: Sequence[Answers]) -> dict[str, float]:
    task.reset_metric(ShapesDataset("val", 1, image_size=64))
    batch = TextQueryBatch(None, (), None, None, tuple(truths))  # type: ignore[arg-type]
    task.update_metric(found, batch)
    return task.compute_metric().flat("vqa")


def test_truth_as_predictions_scores_one(model_config: ModelConfig) -> None:
    samples = ShapesDataset("val", 40, image_size=96)
    truths = [truth_of(samples[index]) for index in range(40)]
    right = [said([question.answers[0] for question in truth.questions]) for truth in truths]
    scores = measured(built(model_config, answer_vocabulary()), truths, right)
    assert scores["vqa/accuracy"] == 1
    kinds = {question.kind for truth in truths for question in truth.questions}
    assert {name.rsplit("/", 1)[1] for name in scores if "/question/" in name} == kinds
    assert all(scores[f"vqa/accuracy/question/{kind}"] == 1 for kind in kinds)
    assert 0 < scores["vqa/accuracy_majority"] < scores["vqa/accuracy_majority_by_kind"] < 0.6
    assert scores["vqa/unknown_answers"] == 0
    wrong = [said(["maybe"] * len(truth.questions)) for truth in truths]
    assert measured(built(model_config), truths, wrong)["vqa/accuracy"] == 0


def test_answers_of_ten_people_are_counted_as_vqa_counts_them(
    model_config: ModelConfig, caplog: pytest.LogCaptureFixture
) -> None:
    (truth,) = [truth_of(ShapesDataset("val", 1, image_size=64)[0])]
    people = ("two",) * 3 + ("2",) * 6 + ("many",)
    asked = (
        Question("how many?", people, kind="count", question_id=7),
        Question("who?", ("Ann",), kind="who", question_id=8),
        Question("and in the test set?", (), question_id=9),
    )
    truth = replace(truth, questions=asked)
    scores = measured(built(model_config), [truth], [said(["2", "yes", "yes"])])
    assert scores["vqa/accuracy/question/count"] == 1
    assert scores["vqa/accuracy"] == 0.5  # the one without an answer is not counted
    assert scores["vqa/unknown_answers"] == 1
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 2 questions have none of the 6 answers that the model knows; they count as wrong"
    ]
    assert [own.question_id for own in answer_truths(truth)] == [7, 8, 9]


def test_questions_without_numbers_get_their_own(model_config: ModelConfig) -> None:
    samples = ShapesDataset("val", 20, image_size=64)
    numbers = [own.question_id for index in range(20) for own in answer_truths(truth_of(samples[index]))]
    assert len(set(numbers)) == len(numbers)


def test_predictions_hold_the_likeliest_answers_and_the_questions_boxes(model_config: ModelConfig) -> None:
    task = built(model_config)
    samples = ShapesDataset("val", 3, image_size=64)
    collate = task.config.collator(task.model_config, ShapesData(), samples, False)
    batch = collate([ExampleDataset(samples, task.model_config.pixels, None)[index] for index in range(3)])
    with torch.no_grad():
        found = task.predictions(batch)
    for own, truth in zip(found, batch.truth, strict=True):
        assert [answer.question.text for answer in own.answers] == [question.text for question in truth.questions]
        for answer, question in zip(own.answers, truth.questions, strict=True):
            assert len(answer.texts) == len(answer.probabilities) == 5
            assert set(answer.texts) < set(task.answers)
            assert list(answer.probabilities) == sorted(answer.probabilities, reverse=True)
            assert sum(answer.probabilities) <= 1 + 1e-5
            assert len(answer.question.spans) == len(question.phrases)
            assert len(answer.question.boxes) == 10 * len(question.phrases)
        (record, *_) = own.to_records(5)
        assert record["image_id"] == 5
        assert record["answer"] == own.answers[0].text
        json.dumps(record)


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_side_by_side_questions_train_as_they_are_answered(model_config: ModelConfig, architecture: str) -> None:
    """What the head makes of questions in one row is what it makes of each in a row of its own."""
    if architecture == "bert":
        options = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        model_config = replace(model_config, text=TextEncoderConfig("bert", options=options))
    torch.manual_seed(0)
    config = VqaConfig(image_reads=False, questions_per_image=0)
    task = config.build(model_config, LossConfig.grounding_only(), answer_vocabulary()).eval()
    assert isinstance(task, VqaTask)
    samples = ShapesDataset("train", 3, image_size=64, questions_per_scene=8)
    examples = [ExampleDataset(samples, task.model_config.pixels, None)[index] for index in range(3)]
    collate = config.collator(task.model_config, ShapesData(), samples, True)
    batch = collate(examples)
    assert len(batch.prompts.text.token_ids) == 3 < len(batch.texts)
    report = task.losses(batch)
    report.total.backward()
    alone = replace(batch, **_one_by_one(batch, task))
    again = task.losses(alone)
    assert report.terms["answers"].item() == pytest.approx(again.terms["answers"].item(), abs=1e-5)
    collate = config.collator(task.model_config, ShapesData(), samples, False)
    with torch.no_grad():
        found = [answer.texts[0] for own in task.predictions(collate(examples)) for answer in own.answers]
        levels = tuple(level[batch.image_rows] for level in task.core.image(batch.images.pixels))
        fused = task.core.fuse(levels, batch.prompts.text, image_reads=False)
        text = batch.prompts.text
        best = task.chooser(fused.after, text, task.regions(fused.after))[text.segment_map().any(dim=-1)].argmax(dim=1)
    assert [task.answers[place] for place in best.tolist()] == found


def _one_by_one(batch: TextQueryBatch, task: VqaTask) -> dict[str, Any]:
    """The same questions, one a row."""
    samples = ShapesDataset("train", 3, image_size=64, questions_per_scene=8)
    tokenizer = task.model_config.tokenizer.build()
    collate = QuestionCollator(task.model_config.pixels, tokenizer, answer_vocabulary(), training=True)
    own = collate([ExampleDataset(samples, task.model_config.pixels, None)[index] for index in range(3)])
    assert [text.text for text in own.texts] == [text.text for text in batch.texts]
    return {"prompts": own.prompts, "image_rows": own.image_rows, "targets": own.targets, "words": own.words}


def test_a_question_needs_no_phrase(model_config: ModelConfig) -> None:
    task = built(model_config)
    found = Predictor(task, "cpu").answer(Image.new("RGB", (80, 60)), "is it there?")
    (answer,) = found.answers
    assert answer.question.spans == ()
    assert answer.text in task.answers
    assert found.lines() == [(f"is it there? {answer.text}", f"{answer.probability:.3f}", "")]
    assert found.draw(Image.new("RGB", (80, 60))).width == 80


def test_crops_are_refused_since_they_change_answers(model_config: ModelConfig) -> None:
    data = ShapesData()
    data.augment.crop = 0.5
    with pytest.raises(UserError, match=r"set data\.augment\.crop=0"):
        VqaConfig().collator(model_config, data, ShapesDataset("train", 1, image_size=64), True)


def test_without_answers_to_choose_from_nothing_is_built(model_config: ModelConfig) -> None:
    with pytest.raises(UserError, match="no answers to choose from"):
        VqaConfig().build(model_config, LossConfig.grounding_only())
    detector = DetectionConfig().build(model_config, LossConfig.grounding_only())
    detector.vocabulary = Vocabulary(("ring",))
    with pytest.raises(UserError, match="weights trained for detection can't do vqa"):
        Predictor(detector, "cpu").answer(Image.new("RGB", (80, 60)), "is it there?")


def test_a_head_that_judges_answers_alone_gives_probabilities_of_each(model_config: ModelConfig) -> None:
    alone = built(replace(model_config, answers=replace(model_config.answers, exclusive=False)))
    logits = torch.tensor([[0.0, 2, -1, 0, 0, 0]])
    assert alone.chooser.probabilities(logits).tolist() == [pytest.approx(logits.sigmoid()[0].tolist())]
    assert built(model_config).chooser.probabilities(logits).sum().item() == pytest.approx(1)


def test_answers_are_stored_with_the_weights_and_read_again(model_config: ModelConfig, tmp_path: Path) -> None:
    task = built(model_config, ("a cup", "yes", "näher"))
    assert task.vocabulary is not None
    record = record_of(task.model_config, task.config, task.vocabulary, task.answers)
    save_weights(tmp_path / "weights.safetensors", task.state_dict(), record)
    loaded = read_checkpoint(tmp_path / "weights.safetensors").build()
    assert loaded.answers == ("a cup", "yes", "näher")
    picture = Image.new("RGB", (80, 60), (200, 30, 30))
    first = Predictor(task, "cpu").answer(picture, "is the ring red?").answers[0]
    again = Predictor(loaded, "cpu").answer(picture, "is the ring red?").answers[0]
    assert first.texts == again.texts
    assert first.probabilities == pytest.approx(again.probabilities)


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [True, False])
def test_one_batch_can_be_learnt_by_heart(preset: Callable[[str], ModelConfig], exclusive: bool) -> None:
    torch.manual_seed(0)
    samples = ShapesDataset("train", IMAGES, image_size=64)
    model = preset("nano")
    model = replace(
        model,
        pixels=replace(model.pixels, short_side=64),
        answers=replace(model.answers, exclusive=exclusive, dropout=0.0),
    )
    task = VqaConfig().build(model, LossConfig.grounding_only(), samples.answers)
    examples = [ExampleDataset(samples, model.pixels, None)[index] for index in range(IMAGES)]
    batch = QuestionCollator(model.pixels, model.tokenizer.build(), samples.answers, training=True)(examples)
    optimizer, _ = OptimConfig(lr=1e-3, text_lr_factor=1.0, warmup_steps=0, schedule="constant").build(task, 300)
    for _ in range(300):
        report = task.losses(batch)
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        if report.terms["answers"] < 0.02:
            break
    assert report.report["answers_right"].item() == 1
    task.reset_metric(samples)
    with torch.no_grad():  # in training mode still: norms of one batch know that batch
        task.update_metric(task.predictions(batch), batch)
    assert task.compute_metric().flat("vqa")["vqa/accuracy"] == 1


TINY = (
    "model=nano", "model.pixels.short_side=64", "model.image.width=32", "model.fusion.layers=1",
    "model.fusion.attention_width=32", "model.image.options.channels=[8,16,24,32]", "model.answers.width=32",
    "data=shapes", "data.image_size=64", "data.batch_size=2", "data.eval_batch_size=4", "data.workers=0",
    "data.eval_scenes=8", "trainer.accelerator=cpu", "trainer.log_every=1", "trainer.max_steps=2", "tracking=off",
    "gallery=2", "output=run",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["phrase_grounding", "vqa"])
def test_a_run_of_two_steps_can_be_evaluated_and_asked(name: str, glipv2: Callable[..., Any], tmp_path: Path) -> None:
    for command in (
        ["train", f"task={name}", *TINY],
        ["evaluate", "weights=run", "data=shapes", "data.eval_scenes=4", "data.image_size=64", "data.workers=0",
         "split=unseen", "trainer.accelerator=cpu"],
        ["predict", "weights=run", "images=run/gallery/val", "text=is the [ring] red?", "threshold=0", "output=said"],
    ):  # fmt: skip
        ended = glipv2(tmp_path, *command)
        assert ended.code == 0, ended.err
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    monitored = {"vqa": "vqa/accuracy", "phrase_grounding": "phrase_grounding/recall_1"}[name]
    assert 0 <= metrics[monitored] <= 1
    records = json.loads((tmp_path / "run/predictions/val.json").read_text())
    asked = ShapesDataset("val", 8, image_size=64)
    texts = [len(asked[index].questions if name == "vqa" else asked[index].captions) for index in range(8)]
    assert len(records) == sum(texts)
    content = json.loads((tmp_path / "said/predictions.json").read_text())
    assert content["task"] == name
    assert [record["phrases"][0]["phrase"] for record in content["annotations"]] == ["ring", "ring"]
    assert len(list((tmp_path / "said").glob("*.png"))) == 2
    if name == "vqa":
        assert read_checkpoint(tmp_path / "run").answers == answer_vocabulary()
        assert content["annotations"][0]["answer"] in answer_vocabulary()
