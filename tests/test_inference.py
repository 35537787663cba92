"""Claims about the Python face: any picture in, typed predictions in its own pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from glipv2.data.prompts import PromptConfig
from glipv2.errors import UserError
from glipv2.given import vocabulary_of
from glipv2.inference import Predictor
from glipv2.structures import Detections, Vocabulary
from glipv2.tasks.detection import DetectionTask

NAMES = ["red circle", "blue square"]


@pytest.fixture
def predictor(task: DetectionTask) -> Predictor:
    """An untrained detector that finds much."""
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = Vocabulary(("green star", "pink heart"), (7, 9))
    return Predictor(task, "cpu")


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def same(first: Detections, second: Detections) -> None:
    assert len(first) == len(second) > 0
    assert first.names == second.names
    assert_close(first.boxes, second.boxes, atol=1e-3, rtol=1e-4)
    assert_close(first.scores, second.scores, atol=1e-5, rtol=1e-4)


def test_a_file_a_picture_and_a_tensor_give_the_same(
    predictor: Predictor, picture: Image.Image, tmp_path: Path
) -> None:
    picture.save(tmp_path / "scène.png")
    found = predictor.detect(picture, NAMES)
    same(predictor.detect(tmp_path / "scène.png", NAMES), found)
    same(predictor.detect(str(tmp_path / "scène.png"), NAMES), found)
    same(predictor.detect(torch.from_numpy(np.array(picture)).permute(2, 0, 1), NAMES), found)
    assert set(found.names) <= set(NAMES)
    assert found.image_size == (90, 130)
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([130.0, 90, 130, 90]) + 1e-3).all()
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_one_picture_gives_one_result_and_a_list_gives_a_list(predictor: Predictor, picture: Image.Image) -> None:
    other = picture.resize((70, 70))
    both = predictor.detect([picture, other, picture], NAMES, batch_size=2)
    assert [found.image_size for found in both] == [(90, 130), (70, 70), (90, 130)]
    same(both[0], predictor.detect(picture, NAMES))
    same(both[0], both[2])
    assert predictor.detect([], NAMES) == []


def test_without_names_the_trained_ones_are_asked_for(predictor: Predictor, picture: Image.Image) -> None:
    found = predictor.detect(picture)
    assert found.vocabulary.names == ("green star", "pink heart")
    assert set(found.category_ids) <= {7, 9}
    predictor.detect(picture, NAMES)
    same(predictor.detect(picture), found)  # names of a request do not stay
    assert predictor.vocabulary.names == ("green star", "pink heart")


def test_the_threshold_keeps_only_better_ones(predictor: Predictor, picture: Image.Image) -> None:
    every = predictor.detect(picture, NAMES)
    bound = float(every.scores.median())
    assert len(predictor.detect(picture, NAMES, threshold=bound)) == int((every.scores >= bound).sum()) < len(every)


@pytest.mark.parametrize(
    ("tensor", "came"),
    [
        (torch.zeros(3, 8, 8), "torch.float32"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"\[8, 8, 3\]"),
        (torch.zeros(8, 8, dtype=torch.uint8), r"\[8, 8\]"),
    ],
)
def test_a_tensor_that_is_no_picture_is_refused(predictor: Predictor, tensor: torch.Tensor, came: str) -> None:
    with pytest.raises(UserError, match=rf"expected a uint8 tensor \[3, H, W\], but got .*{came}"):
        predictor.detect(tensor, NAMES)


def test_names_that_are_none_are_refused(predictor: Predictor, picture: Image.Image) -> None:
    with pytest.raises(UserError, match="but got the text 'a dog'; write \\[\"a dog\"\\]"):
        vocabulary_of("a dog")
    with pytest.raises(UserError, match="expected at least one category name"):
        predictor.detect(picture, [])
    with pytest.raises(UserError, match="category name 'cat' occurs twice"):
        predictor.detect(picture, ["cat", "cat"])


def test_more_names_than_a_prompt_holds_are_all_asked_for(predictor: Predictor, picture: Image.Image) -> None:
    names = [f"red circle {number}" for number in range(120)]
    found = predictor.detect(picture, names)
    assert len(found) > 0
    assert len(predictor._prompts.all_names(vocabulary_of(names), PromptConfig())) > 1


def test_each_picture_can_have_names_and_words_of_its_own(predictor: Predictor, picture: Image.Image) -> None:
    pictures = [picture, picture.resize((70, 70)), picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    names = [["red circle"], ["star", "blue square", "heart"], [f"circle {k}" for k in range(130)], NAMES]
    words = [
        PromptConfig(captions={"red circle": {"suffix": ", which is round"}}),
        PromptConfig(separator=" | ", eval_names=2),
        PromptConfig(),
        PromptConfig(captions={"blue square": {"prefix": "a big ", "name": "box"}}),
    ]
    together = predictor.detect(pictures, names, prompts=words)
    for found, image, own, config in zip(together, pictures, names, words, strict=True):
        assert found.vocabulary.names == tuple(own)
        same(found, predictor.detect(image, own, prompts=config))
    same(predictor.detect(pictures[:2], names[:2])[1], predictor.detect(pictures[1], names[1]))


def test_words_around_a_name_change_what_is_found_but_not_how_it_is_called(
    predictor: Predictor, picture: Image.Image
) -> None:
    plain = predictor.detect(picture, NAMES)
    worded = predictor.detect(picture, NAMES, prompts=PromptConfig(captions={"red circle": {"name": "ring"}}))
    assert worded.scores[0] != plain.scores[0]
    assert set(worded.names) <= set(NAMES)
    same(predictor.detect(picture, NAMES), plain)  # and what is remembered of one is not taken for the other
    with pytest.raises(UserError, match="category 'rde circle' is not in the vocabulary; did you mean 'red circle'"):
        predictor.detect(picture, NAMES, prompts=PromptConfig(captions={"rde circle": {}}))


def test_requests_that_do_not_fit_the_pictures_are_refused(predictor: Predictor, picture: Image.Image) -> None:
    with pytest.raises(UserError, match="expected a list of names for each of 2 pictures, but got 1"):
        predictor.detect([picture, picture], [NAMES])
    with pytest.raises(UserError, match="expected a PromptConfig for each of 2 pictures, but got 1"):
        predictor.detect([picture, picture], NAMES, prompts=[PromptConfig()])
    with pytest.raises(UserError, match=r"expected names, but got \['dog'\] among them"):
        predictor.detect([picture, picture], ["cat", ["dog"]])
    with pytest.raises(UserError, match="expected names, but got 3 among them"):
        predictor.detect(picture, [3])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"the name '\\u200b' has no token"):
        predictor.detect(picture, ["cat", "\u200b"])


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1), (2, 3000), (40_000, 1)])
def test_a_sliver_is_a_picture_too(predictor: Predictor, size: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    found = predictor.detect(Image.fromarray(pixels), NAMES)
    width, height = size
    assert found.image_size == (height, width)
    assert torch.isfinite(found.boxes).all()
    assert (found.boxes >= 0).all()
    assert (found.boxes <= torch.tensor([width, height, width, height]) * 1.001).all()
    found.draw(Image.fromarray(pixels)).save(tmp_path / "drawn.png")


def test_a_prepared_vocabulary_finds_what_its_names_find_and_reads_them_once(
    predictor: Predictor, picture: Image.Image
) -> None:
    expected = predictor.detect(picture, NAMES, threshold=0.2)
    calls: list[int] = []
    predictor.task.core.text.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[union-attr, operator]
    prepared = predictor.with_vocabulary([*NAMES, "hen"], prompts=PromptConfig(eval_names=2))
    assert len(calls) == 1  # the second prompt, before any picture; the first was asked for above
    assert prepared.vocabulary.names == (*NAMES, "hen")
    assert len(prepared.detect([picture] * 3, batch_size=2)) == 3
    assert len(calls) == 1
    same(predictor.with_vocabulary(NAMES).detect(picture, threshold=0.2), expected)
    assert predictor.with_vocabulary().vocabulary.names == ("green star", "pink heart")
    with pytest.raises(UserError, match="expected a list of names"):
        predictor.with_vocabulary("hen")
