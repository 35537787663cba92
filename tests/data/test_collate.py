"""Claims about batches: which boxes teach which tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from glipv2.data.collate import EvaluationCollator, NamePrompts, TrainingCollator
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.transforms import Example, truth_of
from glipv2.pixels import PixelConfig
from glipv2.remembering import MOST
from glipv2.structures import DetectionBatch, Instances, Sample, Vocabulary
from glipv2.tokenizer import TokenizerConfig

VOCABULARY = Vocabulary(("red circle", "blue square", "green star", "pink heart"))
TOKENIZER = TokenizerConfig().build()
PIXELS = PixelConfig()


def example(labels: Sequence[int], crowd: Sequence[int] = (), size: tuple[int, int] = (40, 60)) -> Example:
    """Objects of these labels at boxes (k, k, k + 10, k + 20); `crowd`: which of them are crowds."""
    boxes = torch.tensor([[k, k, k + 10, k + 20] for k in range(len(labels))], dtype=torch.float32).reshape(-1, 4)
    is_crowd = torch.tensor([index in crowd for index in range(len(labels))], dtype=torch.bool)
    instances = Instances(boxes, torch.tensor(labels, dtype=torch.int64), is_crowd, torch.ones(len(labels)))
    image = torch.full((3, *size), 100, dtype=torch.uint8)
    sample = Sample(image, 1, "a.png", instances)
    return Example(image, instances, truth_of(sample), sample)


def train_batch(examples: Sequence[Example], max_tokens: int = 256, **options: object) -> DetectionBatch:
    composer = PromptComposer(VOCABULARY, TokenizerConfig(max_tokens=max_tokens).build(), PromptConfig(**options))  # type: ignore[arg-type]
    return TrainingCollator(PIXELS, composer)(examples)


def named(batch: DetectionBatch, row: int, box: int) -> str:
    """What the tokens of a box say."""
    assert batch.targets is not None
    ids = batch.prompts[0].text.token_ids[row, batch.targets.positive_map[row, box]]
    return TOKENIZER._backend.decode(ids.tolist())


def test_each_box_points_at_the_tokens_of_its_own_name() -> None:
    torch.manual_seed(0)
    for _ in range(10):
        batch = train_batch([example([2, 0, 2]), example([1])])
        assert batch.targets is not None
        assert batch.targets.boxes.shape == (2, 3, 4)
        assert batch.targets.box_mask.tolist() == [[True, True, True], [True, False, False]]
        assert [named(batch, 0, box) for box in range(3)] == ["green star", "red circle", "green star"]
        assert named(batch, 1, 0) == "blue square"
        assert not batch.targets.positive_map[1, 1:].any()
        assert batch.targets.boxes[0].tolist() == [[0, 0, 10, 20], [1, 1, 11, 21], [2, 2, 12, 22]]


def test_a_crowd_teaches_no_box_but_its_name_is_asked_for() -> None:
    batch = train_batch([example([0, 1], crowd=[0])], max_names=1, full_probability=1.0)
    assert batch.targets is not None
    assert batch.targets.boxes.tolist() == [[[1, 1, 11, 21]]]
    assert named(batch, 0, 0) == "blue square"
    assert sorted(batch.prompts[0].phrase_labels[0].tolist()) == [0, 1]
    assert len(batch.truth[0].boxes) == 2  # the metric still knows it


def test_images_without_boxes_have_empty_targets() -> None:
    alone = train_batch([example([])])
    assert alone.targets is not None
    length = alone.prompts[0].text.token_ids.shape[1]
    assert alone.targets.boxes.shape == (1, 0, 4)
    assert alone.targets.box_mask.shape == (1, 0)
    assert alone.targets.positive_map.shape == (1, 0, length)
    mixed = train_batch([example([]), example([3])])
    assert mixed.targets is not None
    assert mixed.targets.box_mask.tolist() == [[False], [True]]


def test_a_box_whose_name_found_no_room_in_the_prompt_is_left_out() -> None:
    torch.manual_seed(0)
    batch = train_batch([example([0, 1, 2, 3])], max_tokens=9)  # room for two names of two words
    assert batch.targets is not None
    kept = batch.prompts[0].phrase_labels[0].tolist()
    assert len(kept) == 2
    assert batch.targets.boxes[0, :, 0].tolist() == [float(label) for label in sorted(kept)]
    assert [named(batch, 0, box) for box in range(2)] == [VOCABULARY.names[label] for label in sorted(kept)]


def test_images_of_a_batch_get_different_prompts_that_follow_their_seeds() -> None:
    def texts(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        ids: list[list[int]] = train_batch([example([0]) for _ in range(6)]).prompts[0].text.token_ids.tolist()
        return ids

    assert texts(1) == texts(1) != texts(2)
    assert len({tuple(row) for row in texts(1)}) > 1


def test_evaluation_asks_every_image_for_every_name() -> None:
    composer = PromptComposer(VOCABULARY, TokenizerConfig().build(), PromptConfig(eval_names=3))
    batch = EvaluationCollator(PIXELS, composer)([example([0]), example([], size=(90, 30))])
    assert batch.targets is None
    assert len(batch) == len(batch.truth) == 2
    assert [prompt.phrase_labels.tolist() for prompt in batch.prompts] == [[[0, 1, 2]] * 2, [[3]] * 2]
    assert batch.images.pixels.shape == (2, 3, 96, 64)
    assert batch.images.image_sizes.tolist() == [[40, 60], [90, 30]]
    assert [truth.labels.tolist() for truth in batch.truth] == [[0], []]


def test_what_is_remembered_of_ever_other_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glipv2.tokenizer.MOST_COUNTS", 5)
    tokenizer = TokenizerConfig().build()
    prompts = NamePrompts(tokenizer)
    for number in (*range(MOST + 5), 0):
        (batch,) = prompts(Vocabulary((f"thing {number}", "star")), 2)
        assert batch.phrase_labels.shape[0] == 2
    assert len(prompts._made) == MOST
    assert len(tokenizer._counts) <= 5
