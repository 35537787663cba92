"""Claims about what a user sees of texts: phrases with their own boxes, whole records, readable lines and pictures."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from glipv2.structures.drawing import label_color
from glipv2.structures.grounded import Answer, Answers, GroundedCaptions, GroundedText, ImageCaption

TEXT = GroundedText(
    "a red ring left of two stars, no cup",
    (((2, 10),), ((19, 22), (23, 28)), ((33, 36),)),
    torch.tensor([[10.0, 10, 50, 60], [60, 20, 90, 40], [5, 5, 20, 20]]),
    torch.tensor([0.9, 0.8, 0.2]),
    torch.tensor([1, 0, 1]),
)
NOTHING = GroundedText("nothing", (), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
CAPTIONS = GroundedCaptions((80, 100), (TEXT, NOTHING))
WRITTEN = ImageCaption((80, 100), TEXT, 0.5)
ANSWERS = Answers((80, 100), (Answer(TEXT, ("yes", "no"), (0.75, 0.25), 12), Answer(TEXT.above(1), ("2",), (1.0,))))


def test_each_phrase_has_its_words_and_its_own_boxes() -> None:
    assert TEXT.phrases == ("red ring", "two stars", "cup")
    boxes, scores = TEXT.of(1)
    assert boxes.tolist() == [[10, 10, 50, 60], [5, 5, 20, 20]]
    assert [round(score, 3) for score in scores.tolist()] == [0.9, 0.2]
    assert len(TEXT.of(2)[0]) == 0


def test_a_threshold_takes_boxes_and_leaves_texts_and_answers() -> None:
    assert CAPTIONS.above(0.5).captions[0].labels.tolist() == [1, 0]
    assert [text.text for text in CAPTIONS.above(1.1).captions] == [TEXT.text, "nothing"]
    assert [(answer.text, len(answer.question.boxes)) for answer in ANSWERS.above(0.85).answers] == [
        ("yes", 1),
        ("2", 0),
    ]


def test_lines_say_what_was_found_where_and_what_was_not() -> None:
    assert CAPTIONS.above(0.5).lines() == [
        ("red ring", "0.800", "60, 20, 90, 40"),
        ("two stars", "0.900", "10, 10, 50, 60"),
        ("cup", "", "not found"),
    ]
    assert ANSWERS.lines()[0] == (f"{TEXT.text} yes", "0.750", "")
    assert ANSWERS.lines()[1] == ("  red ring", "0.800", "60, 20, 90, 40")


def test_records_are_json_with_boxes_as_in_coco() -> None:
    first, second = CAPTIONS.to_records(7)
    assert json.loads(json.dumps(second)) == {"image_id": 7, "caption": "nothing", "phrases": []}
    assert (first["image_id"], first["caption"]) == (7, TEXT.text)
    assert first["phrases"][0]["phrase"] == "red ring"
    assert first["phrases"][1]["spans"] == [[19, 22], [23, 28]]
    assert first["phrases"][0]["bboxes"] == [[60, 20, 30, 20]]
    assert first["phrases"][2] == {"phrase": "cup", "spans": [[33, 36]], "bboxes": [], "scores": []}
    own, other = ANSWERS.to_records("a")
    assert (own["question_id"], own["question"], own["answer"]) == (12, TEXT.text, "yes")
    assert own["answers"] == [["yes", 0.75], ["no", 0.25]]
    assert "question_id" not in other


def test_pictures_show_the_boxes_and_the_words_below() -> None:
    for found in (CAPTIONS, ANSWERS):
        picture = found.draw(Image.new("RGB", (100, 80), "white"))
        assert picture.width == 100
        assert picture.height > 80
        assert picture.getpixel((50, 50)) == label_color(1)
        assert picture.getpixel((75, 40)) == label_color(0)
    bare = GroundedCaptions((80, 100), ())
    assert bare.draw(Image.new("RGB", (100, 80))).size == (100, 80)


def test_predictions_move_between_devices_as_one_value() -> None:
    moved = ANSWERS.to(torch.float64)
    assert moved.answers[0].question.boxes.dtype == torch.float64
    assert (moved.answers[0].texts, moved.answers[0].question_id, moved.image_size) == (("yes", "no"), 12, (80, 100))


def test_every_box_of_a_text_is_a_coco_detection_of_its_phrase() -> None:
    records = json.loads(json.dumps(CAPTIONS.to_coco(7)))
    assert [(record["category_id"], record["category_name"], record["bbox"]) for record in records] == [
        (2, "two stars", [10, 10, 40, 50]),
        (1, "red ring", [60, 20, 30, 20]),
        (2, "two stars", [5, 5, 15, 15]),
    ]
    assert {record["image_id"] for record in records} == {7}
    assert WRITTEN.to_coco(7) == CAPTIONS.to_coco(7)
    assert GroundedCaptions((80, 100), ()).to_coco(1) == []


def test_phrases_of_several_texts_are_categories_of_their_own() -> None:
    pytest.importorskip("supervision")
    two = GroundedCaptions((80, 100), (TEXT, NOTHING, TEXT.above(0.85)))
    assert two.labels.tolist() == [1, 0, 1, 4]
    assert two.to_coco(1)[3]["category_name"] == "two stars"
    given = two.to_supervision()
    assert list(given.data["class_name"]) == ["two stars", "red ring", "two stars", "two stars"]
    assert given.class_id.tolist() == [1, 0, 1, 4]
    assert len(ANSWERS.to_supervision()) == 3
    assert len(GroundedCaptions((80, 100), ()).to_supervision()) == 0


def test_dictionaries_are_json_with_boxes_as_corners() -> None:
    told = json.loads(json.dumps(ANSWERS.to_dict()))
    assert told["image_size"] == [80, 100]
    first = told["answers"][0]
    assert (first["question"], first["answer"], first["probability"]) == (TEXT.text, "yes", 0.75)
    assert first["answers"] == [{"text": "yes", "probability": 0.75}, {"text": "no", "probability": 0.25}]
    assert first["phrases"][0] | {"scores": None} == {
        "phrase": "red ring", "spans": [[2, 10]], "boxes": [[60, 20, 90, 40]], "scores": None,
    }  # fmt: skip
    written = json.loads(json.dumps(WRITTEN.to_dict()))
    assert (written["text"], written["probability"]) == (TEXT.text, 0.5)
    assert written["phrases"] == first["phrases"]
    assert json.loads(json.dumps(CAPTIONS.to_dict()))["captions"][1] == {"text": "nothing", "phrases": []}


def test_a_threshold_of_drawing_leaves_words_and_hides_boxes() -> None:
    for found in (CAPTIONS, ANSWERS, WRITTEN):
        picture = found.draw(Image.new("RGB", (100, 80), "white"), threshold=0.85)
        assert picture.height > 80
        assert picture.getpixel((50, 50)) == label_color(1)
        assert picture.getpixel((75, 40)) == (255, 255, 255)
