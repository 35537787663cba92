"""Claims about what travels from the loader to the task."""

from __future__ import annotations

import torch

from glipv2.structures import (
    DetectionBatch,
    ImageBatch,
    ImageTruth,
    PromptBatch,
    RegionTargets,
    TextBatch,
)
from glipv2.structures.batches import TensorStruct, pad_rows


def truth() -> ImageTruth:
    return ImageTruth(
        7, "a.jpg", (30, 40), torch.ones(2, 4), torch.tensor([1, 0]), torch.zeros(2, dtype=torch.bool), torch.ones(2)
    )


def batch() -> DetectionBatch:
    text = TextBatch(torch.tensor([[1, 2], [3, 4]]), torch.ones(2, 2, dtype=torch.bool))
    prompt = PromptBatch(text, torch.ones(2, 1, 2, dtype=torch.bool), torch.tensor([[5], [6]]))
    return DetectionBatch(
        images=ImageBatch(torch.zeros(2, 3, 32, 64), torch.tensor([[30, 40], [32, 64]])),
        prompts=(prompt, prompt),
        targets=RegionTargets(torch.zeros(2, 1, 4), torch.ones(2, 1, dtype=torch.bool), torch.ones(2, 1, 2)),
        truth=(truth(), truth()),
    )


def devices(value: object) -> list[str]:
    """The device of every tensor below a value."""
    if isinstance(value, torch.Tensor):
        return [value.device.type]
    if isinstance(value, TensorStruct):
        return [device for item in vars(value).values() for device in devices(item)]
    if isinstance(value, tuple):
        return [device for item in value for device in devices(item)]
    return []


def test_every_tensor_moves_and_everything_else_stays() -> None:
    own = batch()
    assert devices(own) == ["cpu"] * (2 + 2 * 4 + 3 + 2 * 4)
    moved = own.to("meta")
    assert devices(moved) == ["meta"] * len(devices(own))
    assert (moved.truth[0].image_id, moved.truth[0].name, moved.truth[0].image_size) == (7, "a.jpg", (30, 40))
    assert devices(own)[0] == "cpu"  # a copy was moved


def test_stacked_texts_are_padded_and_texts_without_segments_are_one_text() -> None:
    short = TextBatch(torch.tensor([[2, 3]]), torch.ones(1, 2, dtype=torch.bool))
    long = TextBatch(torch.tensor([[4, 5, 6], [7, 8, 9]]), torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 3).long())
    assert TextBatch.stacked([short]) is short
    assert TextBatch.stacked([short, short]).segments is None
    both = TextBatch.stacked([short, long])
    assert both.token_ids.tolist() == [[2, 3, 0], [4, 5, 6], [7, 8, 9]]
    assert both.token_mask.tolist() == [[True, True, False], [True] * 3, [True] * 3]
    assert both.segments is not None
    assert both.segments.tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]


def test_a_batch_without_targets_moves_too() -> None:
    moved = DetectionBatch(batch().images, batch().prompts, None, ()).to("meta")
    assert moved.targets is None
    assert moved.images.pixels.device.type == "meta"
    assert len(moved) == 2


def test_images_are_grouped_by_the_padding_they_need() -> None:
    sizes = torch.tensor([[33, 64], [64, 64], [20, 64], [32, 40], [64, 65]])
    pixels = torch.arange(5.0)[:, None, None, None].expand(5, 3, 64, 96)
    groups = ImageBatch(pixels, sizes).by_padded_size(32)
    assert [rows for rows, _ in groups] == [[0, 1], [2, 3], [4]]
    assert [tuple(images.pixels.shape) for _, images in groups] == [(2, 3, 64, 64), (2, 3, 32, 64), (1, 3, 64, 96)]
    assert groups[1][1].image_sizes.tolist() == [[20, 64], [32, 40]]
    assert groups[1][1].pixels[:, 0, 0, 0].tolist() == [2, 3]


def test_rows_of_a_prompt_batch_keep_text_and_phrases_together() -> None:
    picked = batch().prompts[0].rows([1, 1, 0])
    assert picked.text.token_ids.tolist() == [[3, 4], [3, 4], [1, 2]]
    assert picked.phrase_labels.tolist() == [[6], [6], [5]]
    assert picked.phrase_map.shape == (3, 1, 2)
    assert picked.text.token_mask.shape == (3, 2)


def test_rows_are_padded_to_the_longest() -> None:
    values, mask = pad_rows([torch.tensor([1, 2, 3]), torch.tensor([4]), torch.tensor([], dtype=torch.int64)], -1)
    assert values.tolist() == [[1, 2, 3], [4, -1, -1], [-1, -1, -1]]
    assert mask.tolist() == [[True] * 3, [True, False, False], [False] * 3]


def test_rows_that_are_all_empty_keep_their_further_axes() -> None:
    values, mask = pad_rows([torch.zeros(0, 4), torch.zeros(0, 4)])
    assert values.shape == (2, 0, 4)
    assert mask.shape == (2, 0)
