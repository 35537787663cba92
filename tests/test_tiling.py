"""Claims about tiles: boxes in the whole picture's pixels, nothing twice, nothing of it where it makes no sense."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.structures import Detections, Segments, Vocabulary
from glipv2.tasks.detection import DetectionTask
from glipv2.tiling import Tiles, in_tiles, tiles_for

NAMES = Vocabulary(("bright", "dark"))


def bright_blocks(pieces: Sequence[Tensor]) -> list[Detections]:
    """Finds each connected block of one grey value above 100 exactly, with that value as its score."""
    found = []
    for piece in pieces:
        boxes, scores = [], []
        for value in piece[0].unique().tolist():
            if value > 100:
                rows, columns = (piece[0] == value).nonzero(as_tuple=True)
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                # a block that a border may have cut is less sure
                scores.append(value / 255 * min(1.0, len(rows) / 400))
        size = (int(piece.shape[1]), int(piece.shape[2]))
        count = len(boxes)
        found.append(
            Detections(
                torch.tensor(boxes, dtype=torch.float32).view(-1, 4), torch.tensor(scores),
                torch.zeros(count, dtype=torch.int64), size, NAMES,
            )
        )  # fmt: skip
    return found


def blind_to_small(pieces: Sequence[Tensor]) -> list[Detections]:
    """The same, but in pictures wider than 100 pixels small blocks are not seen."""
    found = []
    for piece, seen in zip(pieces, bright_blocks(pieces), strict=True):
        sides = seen.boxes[:, 2:] - seen.boxes[:, :2]
        keep = (sides.prod(dim=1) > 900) | torch.tensor(piece.shape[2] <= 100)
        found.append(Detections(seen.boxes[keep], seen.scores[keep], seen.labels[keep], seen.image_size, NAMES))
    return found


@pytest.fixture
def picture() -> Tensor:
    """Nine small blocks and one that is larger than a tile."""
    canvas = torch.zeros(3, 300, 400, dtype=torch.uint8)
    for index in range(9):
        top, left = 10 + 30 * index, 10 + 21 * index
        canvas[:, top : top + 20, left : left + 20] = 150 + 5 * index
    canvas[:, 20:180, 240:390] = 250
    return canvas


def test_small_objects_of_a_large_picture_are_found_once_and_in_its_own_pixels(picture: Tensor) -> None:
    pytest.importorskip("supervision")
    assert len(blind_to_small([picture])[0]) == 1
    for batch in (1, 4):
        found = in_tiles(picture, Tiles(100), blind_to_small, batch)
        assert found.image_size == (300, 400)
        assert sorted(found.boxes.tolist()) == sorted(
            [[10 + 21 * k, 10 + 30 * k, 30 + 21 * k, 30 + 30 * k] for k in range(9)] + [[240, 20, 390, 180]]
        )
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert found.vocabulary == NAMES


def test_masks_follow_their_boxes(picture: Tensor) -> None:
    pytest.importorskip("supervision")

    def with_masks(pieces: Sequence[Tensor]) -> list[Segments]:
        return [
            Segments(seen, seen.scores[:, None, None].expand(-1, 28, 28).contiguous())
            for seen in blind_to_small(pieces)
        ]

    found = in_tiles(picture, Tiles(100), with_masks, 4)
    assert len(found) == 10
    assert_close(found.cells[:, 0, 0], found.scores)
    assert found.masks(threshold=0.01).shape == (10, 300, 400)


def test_a_picture_that_fits_into_a_tile_is_looked_at_once(picture: Tensor) -> None:
    looked: list[int] = []

    def counted(pieces: Sequence[Tensor]) -> list[Detections]:
        looked.append(len(pieces))
        return bright_blocks(pieces)

    assert len(in_tiles(picture, Tiles(400), counted, 4)) == 10
    assert looked == [1]


def test_nothing_found_is_a_result_too() -> None:
    pytest.importorskip("supervision")
    found = in_tiles(torch.zeros(3, 120, 130, dtype=torch.uint8), Tiles(64), bright_blocks, 8)
    assert (len(found), found.image_size) == (0, (120, 130))


@pytest.mark.parametrize(
    ("tiles", "told"),
    [
        (Tiles(16), "tile: expected a side of at least 32 pixels, but got 16"),
        (Tiles(64, 1.0), "overlap: expected a share of the tile of 0 up to 1, but got 1"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(tiles: Tiles, told: str) -> None:
    with pytest.raises(UserError, match=told):
        tiles_for("detection", tiles)


def test_tiles_do_not_go_with_texts_about_the_whole_picture() -> None:
    with pytest.raises(UserError, match="tile goes with detection and instance_segmentation, but the task is vqa"):
        tiles_for("vqa", 64)


def test_a_million_tiles_are_a_slip() -> None:
    huge = torch.zeros(3, 1, 1, dtype=torch.uint8).expand(3, 20_000, 20_000)
    with pytest.raises(UserError, match="would be more than 4096 tiles; take larger"):
        in_tiles(huge, Tiles(64), lambda pieces: [Detections(*[torch.zeros(0)] * 3, (1, 1), NAMES)], 8)


def test_without_supervision_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, picture: Tensor) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match=r'pip install "glipv2\[supervision\]"'):
        in_tiles(picture, Tiles(100), bright_blocks, 4)


def test_a_predictor_takes_tiles_for_one_picture_and_for_several(task: DetectionTask) -> None:
    pytest.importorskip("supervision")
    with torch.no_grad():
        task.regions.prior_bias.fill_(0)
    task.vocabulary = NAMES
    predictor = Predictor(task, "cpu")
    luck = torch.Generator().manual_seed(0)
    one, other = (torch.randint(0, 256, (3, 150, side), generator=luck, dtype=torch.uint8) for side in (130, 200))
    both = predictor.detect([one, other], [["hen", "cup"], ["dog"]], tile=100)
    assert [found.image_size for found in both] == [(150, 130), (150, 200)]
    assert set(both[1].names) == {"dog"}
    assert both[0].vocabulary.names == ("hen", "cup")
    assert (both[0].boxes <= torch.tensor([130.0, 150, 130, 150]) + 1e-3).all()
    alone = predictor.detect(one, ["hen", "cup"], tile=Tiles(100))
    assert_close(both[0].boxes, alone.boxes)
    assert len(alone) > 0
