"""Claims about phrase grounding: it can learn, its recalls mean what they say, and phrases keep apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from glipv2.data.shapes import ShapesDataset
from glipv2.data.sources import ShapesData
from glipv2.data.texts import CaptionCollator
from glipv2.data.transforms import ExampleDataset, truth_of
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.optim import OptimConfig
from glipv2.structures import Caption, GroundedPhrase, ImageTruth, TextQueryBatch
from glipv2.structures.grounded import GroundedCaptions, GroundedText
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig, PhraseGroundingTask

IMAGES = 3


@pytest.fixture
def grounder(model_config: ModelConfig) -> PhraseGroundingTask:
    torch.manual_seed(0)
    return PhraseGroundingConfig().build(model_config, LossConfig.grounding_only()).eval()  # type: ignore[return-value]


def perfect(truth: ImageTruth) -> GroundedCaptions:
    """The truth as if it had been found, phrases of nothing without boxes."""
    captions = []
    for caption in truth.captions:
        rows = [(place, row) for place, phrase in enumerate(caption.phrases) for row in phrase.instances]
        captions.append(
            GroundedText(
                caption.text,
                tuple(phrase.spans for phrase in caption.phrases),
                truth.boxes[[row for _, row in rows]],
                torch.ones(len(rows)),
                torch.tensor([place for place, _ in rows], dtype=torch.int64),
            )
        )
    return GroundedCaptions(truth.image_size, tuple(captions))


def measured(
    task: PhraseGroundingTask, truths: Sequence[ImageTruth], found: Sequence[GroundedCaptions]
) -> dict[str, float]:
    task.reset_metric(ShapesDataset("val", 1, image_size=64))
    batch = TextQueryBatch(None, (), None, None, tuple(truths))  # type: ignore[arg-type]
    task.update_metric(found, batch)
    return task.compute_metric().flat("phrase_grounding")


def truths(count: int = 30) -> list[ImageTruth]:
    samples = ShapesDataset("val", count, image_size=96, captions_per_scene=2)
    return [truth_of(samples[index]) for index in range(count)]


def test_truth_as_predictions_scores_one(grounder: PhraseGroundingTask) -> None:
    known = truths()
    scores = measured(grounder, known, [perfect(truth) for truth in known])
    assert scores["phrase_grounding/recall_1"] == scores["phrase_grounding/recall_10"] == 1
    assert scores["phrase_grounding/upper_bound"] == 1
    assert 0.5 < scores["phrase_grounding/merged_recall_1"] < 1  # a phrase of two things has no box around both
    single = [replace(one, captions=tuple(_of_one_thing(caption) for caption in one.captions)) for one in known]
    assert measured(grounder, single, [perfect(one) for one in single])["phrase_grounding/merged_recall_1"] == 1


def _of_one_thing(caption: Caption) -> Caption:
    return replace(caption, phrases=tuple(phrase for phrase in caption.phrases if len(phrase.instances) == 1))


def test_boxes_of_the_next_phrase_score_little(grounder: PhraseGroundingTask) -> None:
    known = [truth for truth in truths() if len(truth.boxes) > 2]
    turned = []
    for truth in known:
        found = perfect(truth)
        captions = tuple(replace(text, labels=(text.labels + 1) % max(len(text.spans), 1)) for text in found.captions)
        turned.append(replace(found, captions=captions))
    assert measured(grounder, known, turned)["phrase_grounding/recall_10"] < 0.2


def test_types_are_scored_apart_and_absent_phrases_not_at_all(grounder: PhraseGroundingTask) -> None:
    (truth,) = truths(1)
    phrases = (
        GroundedPhrase(((0, 4),), (0,), ("people",)),
        GroundedPhrase(((5, 9),), (), ("people",)),
        GroundedPhrase(((10, 14),), (0,), ("animals", "other")),
    )
    truth = replace(truth, captions=(Caption("aaaa bbbb cccc", phrases),))
    found = perfect(truth)
    scores = measured(grounder, [truth], [found])
    assert {name.split("/")[2] for name in scores if name.count("/") == 2} == {"people", "animals", "other"}
    assert scores["phrase_grounding/recall_1/people"] == 1
    (text,) = found.captions
    missed = replace(
        found, captions=(replace(text, boxes=text.boxes[:1], scores=text.scores[:1], labels=text.labels[:1]),)
    )
    scores = measured(grounder, [truth], [missed])
    assert scores["phrase_grounding/recall_1"] == 0.5
    assert scores["phrase_grounding/recall_10/animals"] == 0
    assert scores["phrase_grounding/merged_recall_5/people"] == 1


def test_a_request_without_any_phrase_is_refused(grounder: PhraseGroundingTask) -> None:
    with pytest.raises(UserError, match=r"found no phrase to look for in 'is it there\?'"):
        grounder.request("is it there?")
    assert [phrase.spans for phrase in grounder.request("a dog by a [big tree]").phrases] == [((11, 19),)]


def test_a_phrase_that_is_not_there_may_have_no_box(grounder: PhraseGroundingTask) -> None:
    samples = ShapesDataset("val", 2, image_size=64)
    collate = grounder.config.collator(grounder.model_config, ShapesData(), samples, False)
    batch = collate([ExampleDataset(samples, grounder.model_config.pixels, None)[index] for index in range(2)])
    with torch.no_grad():
        for found in grounder.predictions(batch):  # an untrained model is sure of nothing
            assert all(len(caption.boxes) == 10 * len(caption.spans) for caption in found.captions)
            assert all(not len(caption.boxes) for caption in found.above(0.5).captions)
            assert all("not found" in line for line in found.above(0.5).lines())
        grounder.config.ranking.min_score = 0.5
        assert all(not len(caption.boxes) for found in grounder.predictions(batch) for caption in found.captions)


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart(preset: Callable[[str], ModelConfig]) -> None:
    torch.manual_seed(0)
    samples = ShapesDataset("train", IMAGES, image_size=64, captions_per_scene=2)
    model = preset("nano")
    model = replace(model, pixels=replace(model.pixels, short_side=64))
    task = PhraseGroundingConfig().build(model, LossConfig.grounding_only())
    examples = [ExampleDataset(samples, model.pixels, None)[index] for index in range(IMAGES)]
    batch = CaptionCollator(model.pixels, model.tokenizer.build(), training=True)(examples)
    assert len(batch.texts) == 2 * IMAGES
    optimizer, _ = OptimConfig(lr=1e-3, text_lr_factor=1.0, warmup_steps=0, schedule="constant").build(task, 300)
    first = task.losses(batch)
    for _ in range(300):
        report = task.losses(batch)
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        if report.terms["alignment"] < 0.02 and report.terms["box"] < 0.2:
            break
    assert first.terms["alignment"].item() > 0.3
    assert report.terms["alignment"].item() < 0.05
    task.reset_metric(samples)
    with torch.no_grad():  # in training mode still: norms of one batch know that batch
        found = task.predictions(batch)
    task.update_metric(found, batch)
    assert task.compute_metric().flat("phrase_grounding")["phrase_grounding/recall_1"] > 0.95
    moved = [text.of(0)[0][0] for one in found for text in one.captions]
    assert_close(torch.stack(moved), torch.stack(moved).clamp(min=0, max=64))
