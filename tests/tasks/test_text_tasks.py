"""Claims that hold for grounding phrases and for answering questions: what a text gets depends on it and its image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from glipv2.config import SCHEMAS, check_pair
from glipv2.data.collate import repeated
from glipv2.data.dataset import DataConfig
from glipv2.data.shapes import ShapesDataset, answer_vocabulary
from glipv2.data.sources import ShapesData
from glipv2.data.transforms import ExampleDataset
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.losses.words import MaskedWordsConfig
from glipv2.models import ModelConfig
from glipv2.structures import (
    Caption,
    GroundedPhrase,
    ImageBatch,
    Question,
    Sample,
    TextQueryBatch,
    Vocabulary,
)
from glipv2.structures.grounded import Answers, GroundedCaptions, GroundedText
from glipv2.tasks.base import Task

SIZES = ((64, 64), (64, 96), (50, 90), (64, 40), (64, 64))
NAMES = ("phrase_grounding", "vqa")


def built(name: str, model: ModelConfig, loss: LossConfig | None = None) -> Task:
    """A seeded task that was never trained, whose words matter and which finds much."""
    torch.manual_seed(0)
    loss = loss or LossConfig.grounding_only()
    task: Task = SCHEMAS["task"][name]().build(model, loss, answer_vocabulary()).eval()
    task.vocabulary = Vocabulary(("red circle",))
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
        for parameter in task.core.text.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return task


class Photos:
    """Scenes cut to several sizes; `texts`: how many captions and questions each keeps."""

    def __init__(self, texts: Sequence[int] = (1, 2, 3, 2, 1), sizes: Sequence[tuple[int, int]] = SIZES) -> None:
        scenes = ShapesDataset("val", len(sizes), image_size=96, captions_per_scene=3)
        self.samples = [_cut(scenes[index], size, texts[index]) for index, size in enumerate(sizes)]
        self.vocabulary, self.scored_names, self.answers = scenes.vocabulary, scenes.scored_names, scenes.answers

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        return self.samples[index]


def _cut(sample: Sample, size: tuple[int, int], texts: int) -> Sample:
    image = sample.image[:, : size[0], : size[1]]
    return replace(sample, image=image, captions=sample.captions[:texts], questions=sample.questions[:texts])


def batch_of(task: Task, samples: Photos, indices: Sequence[int], training: bool = False) -> TextQueryBatch:
    """The batch of some samples as the task collates them."""
    model = task.model_config
    examples = ExampleDataset(samples, model.pixels, None)
    collate = task.config.collator(model, ShapesData(), samples, training)
    return collate([examples[index] for index in indices])  # type: ignore[no-any-return]


def texts_of(found: object) -> list[tuple[GroundedText, tuple[float, ...]]]:
    """Every text with its boxes and, for a question, the probabilities of its answers."""
    if isinstance(found, Answers):
        return [(answer.question, answer.probabilities) for answer in found.answers]
    assert isinstance(found, GroundedCaptions)
    return [(caption, ()) for caption in found.captions]


def same(first: object, second: object) -> None:
    pairs = list(zip(texts_of(first), texts_of(second), strict=True))
    for (own, probabilities), (other, others) in pairs:
        same_text(own, other)
        assert probabilities == pytest.approx(others, abs=1e-5)


def same_text(own: GroundedText, other: GroundedText) -> None:
    assert (own.text, own.spans) == (other.text, other.spans)
    for place in range(len(own.spans)):  # boxes of one phrase: others may come between at equal scores
        assert_close(own.of(place)[1], other.of(place)[1], atol=1e-5, rtol=1e-4)
        assert_close(own.of(place)[0], other.of(place)[0], atol=1e-2, rtol=1e-3)


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest, model_config: ModelConfig) -> Task:
    return built(request.param, model_config)


@torch.inference_mode()
def predicted(task: Task, batch: TextQueryBatch) -> Sequence[object]:
    return task.predictions(batch)


def test_a_batch_gives_what_single_images_give(task: Task) -> None:
    samples = Photos()
    together = predicted(task, batch_of(task, samples, range(5)))
    assert [len(texts_of(found)) for found in together] == [1, 2, 3, 2, 1]
    assert all(len(text.boxes) for found in together for text, _ in texts_of(found) if text.spans)
    for index, found in enumerate(together):
        (alone,) = predicted(task, batch_of(task, samples, [index]))
        same(found, alone)


def test_padding_the_images_changes_nothing(task: Task) -> None:
    batch = batch_of(task, Photos(), range(5))
    pixels = torch.nn.functional.pad(batch.images.pixels, (0, 64, 0, 32))
    padded = replace(batch, images=ImageBatch(pixels, batch.images.image_sizes))
    for found, other in zip(predicted(task, batch), predicted(task, padded), strict=True):
        same(found, other)


def test_the_order_of_the_texts_changes_nothing(task: Task) -> None:
    samples, turned = Photos(), Photos()
    turned.samples = [
        replace(one, captions=one.captions[::-1], questions=one.questions[::-1]) for one in samples.samples[::-1]
    ]
    found = predicted(task, batch_of(task, samples, range(5)))
    other = predicted(task, batch_of(task, turned, range(5)))
    for own, mirrored in zip(found, other[::-1], strict=True):
        for (text, numbers), (again, others) in zip(texts_of(own), texts_of(mirrored)[::-1], strict=True):
            same_text(text, again)
            assert numbers == pytest.approx(others, abs=1e-5)


def test_a_longer_text_beside_it_changes_nothing_of_a_text(task: Task) -> None:
    """The other one makes all rows of the batch longer."""
    long = "a red circle and a blue star " * 6
    samples, beside = Photos((1,), SIZES[:1]), Photos((1,), SIZES[:1])
    (one,) = beside.samples
    beside.samples = [
        replace(one, captions=(*one.captions, Caption(long)), questions=(*one.questions, Question(long, ("yes",))))
    ]
    alone, both = batch_of(task, samples, [0]), batch_of(task, beside, [0])
    assert both.prompts.text.token_ids.shape[1] > alone.prompts.text.token_ids.shape[1]
    (text, numbers), *_ = texts_of(predicted(task, alone)[0])
    (again, others), *_ = texts_of(predicted(task, both)[0])
    same_text(text, again)
    assert numbers == pytest.approx(others, abs=1e-5)


def test_an_image_is_encoded_once_for_all_of_its_texts(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    encode = task.core.image.forward
    monkeypatch.setattr(task.core.image, "forward", lambda pixels: seen.append(len(pixels)) or encode(pixels))
    batch = batch_of(task, Photos((3, 3), SIZES[:1] * 2), range(2), training=True)
    task.losses(replace(batch, targets=batch.targets))
    predicted(task, batch)
    assert seen == [2, 2]


def test_images_without_texts_get_empty_predictions_between_the_others(task: Task) -> None:
    found = predicted(task, batch_of(task, Photos((0, 2, 0, 1, 0)), range(5)))
    assert [len(texts_of(one)) for one in found] == [0, 2, 0, 1, 0]
    assert [one.image_size for one in found] == list(SIZES)  # type: ignore[attr-defined]
    assert [len(texts_of(one)) for one in predicted(task, batch_of(task, Photos((0, 0), SIZES[:2]), range(2)))] == [
        0,
        0,
    ]


def test_a_training_batch_without_any_text_is_refused_by_name(task: Task) -> None:
    with pytest.raises(UserError, match=r"(of|about) the images shapes/val/0"):
        task.losses(batch_of(task, Photos((0, 0), SIZES[:2]), range(2), training=True))


@pytest.mark.parametrize("name", NAMES)
def test_data_without_such_texts_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(UserError, match=rf"task={name} needs .*, which DataConfig does not provide"):
        check_pair(SCHEMAS["task"][name](), DataConfig())  # boxes alone
    check_pair(SCHEMAS["task"][name](), ShapesData())


def test_every_word_of_a_question_or_caption_stays_within_its_text(task: Task) -> None:
    """Boxes of one text are not those of another about the same image."""
    found = predicted(task, batch_of(task, Photos((3,), SIZES[:1]), [0]))[0]
    texts = [text for text, _ in texts_of(found)]
    assert all((text.labels < max(len(text.spans), 1)).all() for text in texts)


@pytest.mark.parametrize("name", NAMES)
def test_words_that_name_nothing_teach_as_negatives(name: str, model_config: ModelConfig) -> None:
    """What is absent pushes its words away from every region; what nobody annotated does not."""
    task = built(name, model_config)
    absent = GroundedPhrase(((2, 12),), ())
    grads = []
    for phrases in ((absent,), ()):
        samples = Photos((1,), SIZES[:1])
        text = "a red circle"
        samples.samples = [
            replace(samples[0], captions=(Caption(text, phrases),), questions=(Question(text, ("no",), phrases),))
        ]
        report = task.losses(batch_of(task, samples, [0], training=True))
        grads.append(report.terms["alignment"].item())
        assert report.terms["box"].item() == report.terms["centerness"].item() == 0
        assert report.total.isfinite()
    assert grads[0] > 0
    assert grads[1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_all_three_losses_train_on_texts(name: str, model_config: ModelConfig) -> None:
    loss = LossConfig(words=MaskedWordsConfig(probability=0.5))
    task = built(name, model_config, loss).train()
    report = task.losses(batch_of(task, Photos(), range(5), training=True))
    terms = {"alignment", "box", "centerness", "contrast", "words"} | ({"answers"} if name == "vqa" else set())
    assert set(report.terms) == terms
    report.total.backward()
    without = [key for key, value in task.named_parameters() if value.grad is None]
    assert without == []
    assert report.terms["contrast"].item() > 0
    assert (report.terms["words"].item() > 0) == (name == "phrase_grounding")  # no word of a question is hidden


def test_one_text_is_asked_of_every_image(task: Task) -> None:
    batch = batch_of(task, Photos(), range(3))
    request = task.request("is the [red circle] left of [a star]")
    unknown = tuple(replace(truth, captions=(), questions=()) for truth in batch.truth)
    asked = task.batch_for(batch.images, unknown, request)
    assert [text.text for text in asked.texts] == ["is the red circle left of a star"] * 3
    assert asked.image_rows.tolist() == [0, 1, 2]
    assert asked.prompts.text.token_ids.tolist() == repeated(asked.prompts.rows([0]), 3).text.token_ids.tolist()
    for found in predicted(task, asked):
        ((text, _),) = texts_of(found)
        assert text.phrases == ("red circle", "a star")
        assert set(text.labels.tolist()) == {0, 1}
