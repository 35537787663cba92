"""Claims about the standard files of one folder of images: what each task gets from them, and what is refused."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from split_files import A, B, C, answers, captions, grounding, questions, split

from glipv2.config import check_pair
from glipv2.data.augment import AugmentConfig
from glipv2.data.coco_split import CocoSplit
from glipv2.data.dataset import SampleDataset
from glipv2.data.sources import CocoData
from glipv2.data.transforms import ExampleDataset, mentions_side
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.structures import Sample
from glipv2.tasks.captioning import CaptioningConfig
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.phrase_grounding import PhraseGroundingConfig
from glipv2.tasks.vqa import VqaConfig

PACK = Path(__file__).parents[3] / "shared" / "data" / "coco_mini"
needs_shared = pytest.mark.skipif(not PACK.is_dir(), reason=f"{PACK} is not here; it holds real COCO images")


def opened(files: CocoSplit, *needs: str, **settings: Any) -> SampleDataset:
    settings = {"answer_min_count": 1, **settings}
    return CocoData(train=files, **settings).dataset("train", frozenset(needs))


def samples(files: CocoSplit, *needs: str, **settings: Any) -> list[Sample]:
    dataset = opened(files, *needs, **settings)
    return [dataset[index] for index in range(len(dataset))]


# What samples hold


def test_captions_are_joined_by_image_and_images_without_any_are_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "glipv2"):
        found = samples(split(folder), "captions")
    assert [(one.image_id, [text.text for text in one.captions]) for one in found] == [
        (A, ["A dog runs.", "a dog on grass "]), (B, ["Nothing to see"])
    ]  # fmt: skip
    assert [record.getMessage() for record in caplog.records] == ["data.train: 2 of 3 images have captions, 3 in all"]


def test_questions_keep_their_ids_types_and_all_ten_answers_as_given(folder: Path) -> None:
    found = samples(split(folder), "questions")
    assert [[(own.question_id, own.text) for own in one.questions] for one in found] == [
        [(11, "Is there a dog?"), (13, "Which side is it on?")], [(12, "How many cups?")]
    ]  # fmt: skip
    counted = found[1].questions[0]
    assert counted.answers == ("Two",) * 6 + ("2",) * 4
    assert (counted.kind, counted.answer_kind) == ("a type", "number")


def test_boxes_of_names_and_of_phrases_are_never_mixed(folder: Path) -> None:
    named, phrased = opened(split(folder), "boxes"), opened(split(folder), "boxes", "phrases")
    assert named.vocabulary.names == ("dog", "red circle")
    assert named[0].instances.boxes.tolist() == [[5, 5, 25, 20]]
    assert phrased.vocabulary.names == ("object",)
    assert len(phrased) == 1
    assert phrased[0].image_id == A
    assert phrased[0].instances.boxes.tolist() == [[2, 3, 6, 8]]
    assert phrased[0].captions[0].phrases[0].instances == (0,)
    assert len(samples(split(folder), "captions")[0].instances) == 0


def test_all_needs_of_a_sample_are_met_at_once(folder: Path) -> None:
    found = samples(split(folder), "boxes", "masks", "captions", "questions", on_error="skip")
    assert [one.image_id for one in found] == [A]
    assert found[0].instances.masks is not None
    assert (len(found[0].captions), len(found[0].questions)) == (2, 2)
    assert [len(one.questions) for one in samples(split(folder), "phrases", "questions")] == [2]


def test_captions_come_from_the_grounding_file_where_no_other_is_set(folder: Path) -> None:
    files = split(folder, captions=None)
    assert [len(one.captions[0].phrases) for one in samples(files, "captions")] == [1]
    assert CocoData(train=files).holds("train", CaptioningConfig.needs) >= {"phrases", "boxes"}
    assert "phrases" not in CocoData(train=split(folder)).holds("train", CaptioningConfig.needs)


def test_a_set_of_captions_or_of_questions_alone_works(folder: Path) -> None:
    none = dict.fromkeys(("annotations", "grounding", "questions", "answers", "captions"))
    only = split(folder, **{**none, "captions": captions()})
    assert [one.image_id for one in samples(only, "captions")] == [A, B]
    only = split(folder, **{**none, "questions": questions(), "answers": answers()})
    with pytest.raises(UserError, match="no image to read; expected records in 'images', or files named by number"):
        opened(only, "questions")
    for name in ("COCO_val2014_000000000007.jpg", f"{C}.png", "readme_9.txt"):
        Image.new("RGB", (9, 6)).save(folder / "images" / name, "PNG")
    found = samples(only, "questions")
    assert [(one.image_id, one.name) for one in found] == [(C, f"{C}.png"), (A, "COCO_val2014_000000000007.jpg")]
    Image.new("RGB", (9, 6)).save(folder / "images" / "other 007.png")
    with pytest.raises(UserError, match=r"COCO_val2014_000000000007.jpg and other 007.png have the same number"):
        opened(only, "questions")


def test_questions_of_a_test_split_need_no_answers(folder: Path) -> None:
    files = split(folder, answers=None)
    data = CocoData(train=files, val=files, test=files)
    dataset = data.dataset("test", VqaConfig.needs)
    assert [own.answers for own in dataset[0].questions] == [(), ()]
    assert dataset.answers == ()
    for name in ("train", "val"):
        with pytest.raises(UserError, match=rf"^task=vqa needs questions; set data.{name}.answers$"):
            check_pair(VqaConfig(), data, [name])


def test_a_file_that_is_not_set_is_named_by_its_key(folder: Path) -> None:
    data = CocoData(train=CocoSplit(images="a"))
    expected = [
        (VqaConfig(), "task=vqa needs questions; set data.train.questions and data.train.answers"),
        (CaptioningConfig(), "task=captioning needs captions; set data.train.captions"),
        (DetectionConfig(), "task=detection needs boxes; set data.train.annotations"),
        (PhraseGroundingConfig(), "task=phrase_grounding needs boxes and phrases; set data.train.grounding"),
    ]
    for task, message in expected:
        with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
            check_pair(task, data, ["train"])
    with pytest.raises(UserError, match=r"^task=captioning needs images; set data.train.images$"):
        check_pair(CaptioningConfig(), CocoData(train=replace(split(folder), images=None)), ["train"])


# Answers


def test_spellings_of_an_answer_count_together_and_rare_ones_are_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"questions": [{"question_id": n, "image_id": A, "question": "what?"} for n in range(7)]}
    said = ["Two", "2", "two", "two", "a dog", "Dog.", "cat"]
    given = {"annotations": [{"question_id": n, "image_id": A, "answers": [said[n]]} for n in range(7)]}
    files = split(folder, questions=asked, answers=given)
    assert opened(files, "questions").answers == ("two", "a dog", "cat")
    with caplog.at_level(logging.INFO, "glipv2"):
        assert opened(files, "questions", answer_min_count=2).answers == ("two", "a dog")
    assert "learns 2 of 3 different answers, right for 6 of 7 questions" in caplog.messages[-1]
    assert opened(files, "questions", answer_vocabulary=1).answers == ("two",)
    with pytest.raises(UserError, match=r"none of the answers is right for 9 of the 7 questions.*answer_min_count=1"):
        opened(files, "questions", answer_min_count=9)


def test_nothing_is_flipped_whose_words_or_answers_know_left_from_right(folder: Path) -> None:
    first, second = samples(split(folder), "questions")
    assert mentions_side(first)  # "left" is an answer
    assert not mentions_side(second)
    dataset = opened(split(folder), "questions")
    pixels = PixelConfig(short_side=30, max_long_side=40)
    Image.linear_gradient("L").rotate(90).resize((40, 30)).convert("RGB").save(folder / "images" / "a.png")
    Image.linear_gradient("L").rotate(90).resize((40, 30)).convert("RGB").save(folder / "images" / "c.png")
    examples = ExampleDataset(dataset, pixels, AugmentConfig(flip=1.0))
    assert examples[0].image.equal(dataset[0].image)
    assert examples[1].image.equal(dataset[1].image.flip(-1))


# Faults

Change = Callable[[dict[str, Any]], Any]


def record(part: str, place: int, **fields: Any) -> Change:
    return lambda content: content[part][place].update(fields)


def said(place: int, *texts: Any) -> Change:
    return record("annotations", place, answers=[{"answer": text} for text in texts])


GOOD = {"captions": captions, "questions": questions, "answers": answers, "grounding": grounding}
RECORD_FAULTS: list[tuple[str, Change, str]] = [
    ("captions", record("annotations", 1, image_id=8), "annotations[1] (id 2): image_id 8 is not among the images of"),
    ("captions", record("annotations", 1, image_id="3"), "expected a whole number as image_id, but got '3'"),
    ("captions", record("annotations", 1, caption=" "), "annotations[1] (id 2): caption is ' ', expected a text"),
    ("captions", record("annotations", 1, id=1), "annotations[1] (id 1): id 1 occurs twice"),
    ("captions", lambda c: c["annotations"].append(5), "annotations[3]: expected an object, but got 5"),
    ("captions", record("images", 0, width=0), "images[0] (id 7): expected height and width above 0"),
    ("questions", record("questions", 0, image_id=8), "questions[0]: image_id 8 is not among the images of"),
    ("questions", record("questions", 0, question=""), "question 11 is '', expected a text"),
    ("questions", record("questions", 0, question_id=13), "question_id 13 occurs twice"),
    ("questions", record("questions", 0, question_id="11"), "expected a whole number as question_id, but got '11'"),
    ("questions", lambda c: c["questions"][0].pop("image_id"), "has no question_id, no image_id or no question"),
    ("questions", record("questions", 1, image_id=A), "question 12 is about image 7, but"),
    ("answers", said(1), "annotations[1]: question 12 has answers [], expected a list of at least one"),
    ("answers", said(1, "two", ""), "question 12 has an answer that is empty or no text"),
    ("answers", said(1, 2), "question 12 has an answer that is empty or no text"),
    ("answers", record("annotations", 1, question_id=11), "question_id 11 occurs twice"),
    ("grounding", record("annotations", 0, tokens_positive=[[0, 50]]), "the span [0, 50], but the caption has 11"),
]
NEEDS = {"captions": "captions", "questions": "questions", "answers": "questions", "grounding": "phrases"}


@pytest.mark.parametrize(("key", "change", "words"), RECORD_FAULTS)
def test_a_faulty_record_is_refused_with_its_place_or_skipped_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture, key: str, change: Change, words: str
) -> None:
    content = GOOD[key]()
    change(content)
    files = split(folder, **{key: content})
    with pytest.raises(UserError) as caught:
        opened(files, NEEDS[key])
    assert words in str(caught.value).splitlines()[0]
    assert f"{key}.json" in str(caught.value).splitlines()[0]
    with caplog.at_level(logging.WARNING, "glipv2"):
        opened(files, NEEDS[key], on_error="skip")
    assert f"{key}.json: skipped" in caplog.text


def test_answers_to_a_question_that_nobody_asked_are_a_fault(folder: Path) -> None:
    few = questions()
    del few["questions"][1:]
    with pytest.raises(
        UserError, match=r"answers.json: 2 faults, first question_id 12: 2 of 3 are not among the quest"
    ):
        opened(split(folder, questions=few), "questions")
    assert len(opened(split(folder, questions=few), "questions", on_error="skip")) == 1


def test_a_question_without_a_record_of_answers_is_a_fault(folder: Path) -> None:
    few = answers()
    del few["annotations"][0]
    with pytest.raises(UserError, match="question 11 has no record in"):
        opened(split(folder, answers=few), "questions")
    assert len(opened(split(folder, answers=few), "questions", on_error="skip")[0].questions) == 1


@pytest.mark.parametrize(
    ("key", "content", "words"),
    [
        (
            "captions",
            json.dumps(answers()),
            "expected a COCO captions file, but got the answers (annotations) of VQA v2",
        ),
        ("captions", json.dumps(questions()), "but got the questions of VQA v2"),
        ("captions", json.dumps({"images": [], **grounding()}), "but got grounded captions in MDETR's layout"),
        ("captions", "[]", "but got a JSON list"),
        ("captions", '[{"image_id": 1, "caption": "a"}]', "but got a list of results (predictions, not truth)"),
        ("captions", "", "is empty; expected a COCO captions file"),
        ("captions", "{", "is not JSON"),
        ("questions", json.dumps(answers()), "expected the questions of VQA v2, but got the answers (annotations)"),
        ("questions", '[{"question_id": 1, "answer": "a"}]', "but got a list of results (predictions, not truth)"),
        ("answers", json.dumps(questions()), "expected the answers (annotations) of VQA v2, but got the questions"),
        ("answers", json.dumps(captions()), "expected the answers (annotations) of VQA v2, but got COCO captions"),
        ("grounding", json.dumps(captions()), "no image has a 'caption'; expected grounded captions"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(folder: Path, key: str, content: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        opened(split(folder, **{key: content}), NEEDS[key], on_error="skip")
    assert words in str(caught.value)
    assert f"{key}.json" in str(caught.value)


@pytest.mark.parametrize("key", ["captions", "questions", "answers", "grounding"])
def test_a_file_that_is_not_there_is_named(folder: Path, key: str) -> None:
    files = replace(split(folder), **{key: str(folder / "nowhere.json")})
    with pytest.raises(UserError, match=r"nowhere\.json does not exist"):
        opened(files, NEEDS[key])


def test_files_about_other_images_are_refused_even_where_faults_are_skipped(folder: Path) -> None:
    others = captions()
    for own in others["annotations"]:
        own["image_id"] += 1000
    with pytest.raises(UserError, match=r"data.train: none of the 3 images has captions; check that .* ids fit"):
        opened(split(folder, captions=others), "captions", on_error="skip")


# The real thing


@needs_shared
@pytest.mark.parametrize(
    ("need", "images", "texts"), [("captions", 50, 250), ("questions", 50, 475), ("phrases", 47, 185), ("boxes", 50, 0)]
)
def test_the_pack_serves_every_need(need: str, images: int, texts: int) -> None:
    notes = PACK / "annotations"
    files = CocoSplit(
        images=str(PACK / "images" / "train2017"),
        annotations=str(notes / "instances_train2017.json"),
        captions=str(notes / "captions_train2017.json"),
        questions=str(notes / "vqa_train_questions.json"),
        answers=str(notes / "vqa_train_annotations.json"),
        grounding=str(notes / "grounding_train.json"),
    )
    found = samples(files, need)
    assert len(found) == images
    assert sum(len(one.captions) + len(one.questions) for one in found) == texts
