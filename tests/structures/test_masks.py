"""Claims about masks: pasting is right to the pixel and undoes cropping; run lengths are COCO's."""

from __future__ import annotations

import pytest
import torch
from faster_coco_eval.core import mask as coco_mask
from torch import Tensor
from torch.testing import assert_close

from glipv2.data.shapes import ShapesDataset
from glipv2.metrics.run_lengths import run_lengths
from glipv2.structures import masks as masks_module
from glipv2.structures.masks import crop_masks, paste_masks, pasted_above, pasted_run_lengths

SIZE = (7, 9)  # height, width


def filled(rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((2, 3, 7, 6), filled(slice(3, 6), slice(2, 7))),
        ((1.4, 0, 3.6, 2), filled(slice(0, 2), slice(1, 4))),  # centres 1.5, 2.5 and 3.5
        ((1.6, 0.6, 3.4, 1.4), filled(slice(0, 0), slice(0, 0))),  # 0.8 pixels high, but holds no centre
        ((0, 0, 9, 7), filled(slice(0, 7), slice(0, 9))),
        ((-5, -5, 3, 2), filled(slice(0, 2), slice(0, 3))),
        ((6, 5, 30, 30), filled(slice(5, 7), slice(6, 9))),
        ((20, 20, 30, 30), filled(slice(0, 0), slice(0, 0))),
    ],
)
@pytest.mark.parametrize("cells", [1, 4, 28])
def test_a_full_box_fills_exactly_the_pixels_whose_centres_it_holds(
    box: tuple[float, ...], pixels: Tensor, cells: int
) -> None:
    pasted = paste_masks(torch.ones(1, cells, cells), torch.tensor([box]).float(), SIZE)
    assert torch.equal(pasted[0] > 0, pixels)
    assert_close(pasted[0], pixels.float())


def test_half_of_the_cells_is_half_of_the_box() -> None:
    cells = torch.zeros(1, 28, 28)
    cells[:, :, :14] = 1
    mask = pasted_above(cells, torch.tensor([[10.0, 20.0, 50.0, 40.0]]), (60, 80), 0.5)[0]
    wanted = torch.zeros(60, 80, dtype=torch.bool)
    wanted[20:40, 10:30] = True
    assert torch.equal(mask, wanted)


def test_between_the_centres_of_cells_values_are_bilinear() -> None:
    pasted = paste_masks(torch.tensor([[[0.0, 1.0]] * 2]), torch.tensor([[0.0, 0.0, 8.0, 1.0]]), (1, 8))
    assert_close(pasted[0, 0], torch.tensor([0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1]))


def test_pasting_undoes_cropping() -> None:
    samples = ShapesDataset("val", 40, image_size=128, with_language=False)
    overlaps = []
    for index in range(40):
        truth = samples[index].instances
        assert truth.masks is not None
        again = pasted_above(crop_masks(truth.masks, truth.boxes, 28), truth.boxes, (128, 128), 0.5)
        overlaps.append((again & truth.masks).sum((1, 2)) / (again | truth.masks).sum((1, 2)))
    assert float(torch.cat(overlaps).mean()) > 0.99
    assert float(torch.cat(overlaps).min()) > 0.95


def test_a_crop_knows_the_shares_of_its_cells() -> None:
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, :, :5] = True  # the box's cells are two pixels wide: 2–4, 4–6, 6–8
    assert_close(crop_masks(mask, torch.tensor([[2.0, 0.0, 8.0, 6.0]]), 3)[0], torch.tensor([[1, 0.5, 0]] * 3))


def test_a_box_without_area_has_an_empty_mask() -> None:
    boxes = torch.tensor([[3.0, 3.0, 3.0, 6.0], [3.0, 3.0, 3.0, 3.0], [5.0, 5.0, 4.0, 4.0]])
    assert not paste_masks(torch.ones(3, 28, 28), boxes, SIZE).any()
    assert not crop_masks(torch.ones(3, *SIZE, dtype=torch.bool), boxes, 28)[:2].any()
    assert [mask["counts"] for mask in pasted_run_lengths(torch.ones(3, 28, 28), boxes, SIZE, 0.5)] == ["o1"] * 3


def test_no_masks_stay_no_masks() -> None:
    nothing, boxes = torch.zeros(0, 28, 28), torch.zeros(0, 4)
    assert pasted_above(nothing, boxes, SIZE, 0.5).shape == (0, *SIZE)
    assert crop_masks(torch.zeros(0, *SIZE), boxes, 28).shape == (0, 28, 28)
    assert pasted_run_lengths(nothing, boxes, SIZE, 0.5) == []


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (40, 33), (300, 500)])
@pytest.mark.parametrize("threshold", [0.02, 0.5, 0.99, 1.5])
def test_run_lengths_are_those_of_the_official_encoder(size: tuple[int, int], threshold: float) -> None:
    torch.manual_seed(0)
    extent = torch.tensor([size[1], size[0]])
    corner = torch.rand(12, 2) * extent * 0.9 - 2
    boxes = torch.cat([corner, corner + torch.rand(12, 2) * extent * 1.2], dim=1)
    boxes[0] = torch.tensor([0, 0, size[1], size[0]])
    cells = torch.rand(12, 28, 28)
    cells[0] = 1
    found = pasted_run_lengths(cells, boxes, size, threshold)
    wanted = run_lengths(pasted_above(cells, boxes, size, threshold))
    assert [mask["counts"].encode() for mask in found] == [mask["counts"] for mask in wanted]
    assert all(mask["size"] == list(size) for mask in found)
    assert coco_mask.decode([dict(mask) for mask in found]).shape == (*size, 12)


def test_masks_made_in_portions_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, boxes = torch.rand(5, 28, 28), torch.tensor([[1.0, 1.0, 8.0, 6.0]]).expand(5, -1)
    whole = pasted_above(cells, boxes, SIZE, 0.5)
    monkeypatch.setattr(masks_module, "PIXELS_AT_ONCE", 2 * 7 * 9)
    assert torch.equal(pasted_above(cells, boxes, SIZE, 0.5), whole)
