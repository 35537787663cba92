"""Claims about asking in Python: captions and questions in, phrases with boxes in each picture's own pixels out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from glipv2.data.shapes import ShapesDataset
from glipv2.data.transforms import truth_of
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig, Parts
from glipv2.report.gallery import HEADING_HEIGHT, side_by_side
from glipv2.structures import Vocabulary
from glipv2.structures.drawing import label_color
from glipv2.structures.grounded import Answer, Answers, GroundedCaptions, GroundedText
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.joint import JointConfig


@pytest.fixture
def predictor(model_config: ModelConfig) -> Predictor:
    """Weights that were trained for everything said here, and that find much."""
    torch.manual_seed(0)
    config = JointConfig(weights={"detection": 1.0, "phrase_grounding": 1.0, "vqa": 1.0})
    task = config.assemble(Parts(model_config, ("yes", "no", "two")), LossConfig.grounding_only())
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    for part in task.subtasks().values():
        part.vocabulary = Vocabulary(("red circle",))
    return Predictor(task, "cpu")


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_caption_is_grounded_in_each_pictures_own_pixels(predictor: Predictor, picture: Image.Image) -> None:
    caption = "a red circle left of two blue stars."
    found = predictor.ground([picture, picture.resize((70, 70))], caption)
    assert [one.image_size for one in found] == [(90, 130), (70, 70)]
    (text,) = found[0].captions
    assert text.phrases == ("red circle", "two blue stars")
    assert [len(text.of(place)[0]) for place in range(2)] == [10, 10]
    assert (text.boxes <= torch.tensor([130.0, 90, 130, 90]) + 1e-3).all()
    (alone,) = predictor.ground(picture, caption).captions
    assert_close(alone.boxes, text.boxes, atol=1e-2, rtol=1e-3)


def test_phrases_can_be_marked_said_or_counted(predictor: Predictor, picture: Image.Image) -> None:
    (marked,) = predictor.ground(picture, "a [red circle] and a circle").captions
    (said,) = predictor.ground(picture, "a red circle and a circle", ["red circle"]).captions
    (counted,) = predictor.ground(picture, "a red circle and a circle", [(2, 12)]).captions
    assert marked.text == said.text == counted.text
    assert marked.spans == said.spans == counted.spans == (((2, 12),),)
    assert_close(marked.boxes, said.boxes)
    assert_close(marked.boxes, counted.boxes)


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        (["ring"], r"the phrase 'ring' stands 0 times .*give its characters"),
        (["circle"], r"the phrase 'circle' stands 2 times"),
        (["cir"], r"the phrase 'cir' stands 0 times"),
        ([""], r"stands 0 times"),
        ([(2, 99)], r"within the 25 of"),
        ([(5, 5)], r"within the 25 of"),
        ([], r"expected a list of phrases"),
        ("circle", r"expected a list of phrases"),
    ],
)
def test_phrases_that_are_none_are_refused(
    predictor: Predictor, picture: Image.Image, phrases: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        predictor.ground(picture, "a red circle and a circle", phrases)


def test_a_question_is_answered_and_its_phrases_shown(predictor: Predictor, picture: Image.Image) -> None:
    question = "how many red circles are there?"
    both = predictor.answer([picture, picture.resize((60, 60))], question)
    (answer,) = both[0].answers
    assert set(answer.texts) == {"yes", "no", "two"}
    assert sum(answer.probabilities) == pytest.approx(1)
    assert answer.question.phrases == ("red circles",)
    assert len(answer.question.boxes) == 10
    assert len(predictor.answer(picture, question, threshold=1.0).answers[0].question.boxes) == 0
    assert predictor.answer(picture, question).answers[0].probabilities == pytest.approx(answer.probabilities, abs=1e-5)


def test_a_detector_grounds_captions_too(model_config: ModelConfig, picture: Image.Image) -> None:
    """Grounding a caption needs no part that a detector lacks."""
    detector = DetectionConfig().build(model_config, LossConfig.grounding_only())
    detector.vocabulary = Vocabulary(("red circle",))
    found = Predictor(detector, "cpu").ground(picture, "a red circle")
    assert found.captions[0].phrases == ("red circle",)


def test_tasks_of_one_model_share_its_weights(predictor: Predictor) -> None:
    tasks = [predictor.task_for(name) for name in ("detection", "phrase_grounding", "vqa")]
    assert len({id(task.core) for task in tasks}) == len({id(task.regions) for task in tasks}) == 1


def test_the_gallery_shows_phrases_and_answers_beside_the_truth() -> None:
    sample = ShapesDataset("val", 2, image_size=320, captions_per_scene=1)[1]
    truth = truth_of(sample)
    caption = truth.captions[0]
    box = truth.boxes[list(caption.phrases[0].instances)][:1]
    spans = tuple(phrase.spans for phrase in caption.phrases)
    text = GroundedText(caption.text, spans, box, torch.tensor([0.9]), torch.tensor([0]))
    found = GroundedCaptions((320, 320), (text,))
    answers = Answers((320, 320), tuple(Answer(replace(text, text=own.text, spans=(((0, 2),),)), ("yes",), (0.9,))
                                        for own in truth.questions))  # fmt: skip
    corner = (int(box[0, 2]), HEADING_HEIGHT + int(box[0, 3]))
    for shown in (found, answers):
        picture = side_by_side(sample.image, truth, shown)
        assert picture.width == 640
        assert picture.height > 320 + HEADING_HEIGHT
        assert label_color(0) in [picture.getpixel((320 + corner[0] - dx, corner[1])) for dx in range(3)]
    left = side_by_side(sample.image, truth, found)
    assert left.getpixel(corner) == label_color(0)
