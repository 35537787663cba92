from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from glipv2.errors import UserError
from glipv2.report.gallery import HEADING_HEIGHT, LONGEST_SIDE, contact_sheet, side_by_side
from glipv2.structures import Detections, ImageTruth, Segments, Vocabulary
from glipv2.structures.drawing import label_color

NAMES = Vocabulary(("red circle", "blue square"))
GREY = (128, 128, 128)


def truth_of(boxes: list[list[float]], labels: list[int], size: tuple[int, int]) -> ImageTruth:
    count = len(labels)
    return ImageTruth(
        1, "a", size, torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64),
        torch.zeros(count, dtype=torch.bool), torch.ones(count),
    )  # fmt: skip


def found_of(boxes: list[list[float]], scores: list[float], labels: list[int], size: tuple[int, int]) -> Detections:
    return Detections(
        torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64), size, NAMES
    )


def grey_image(height: int, width: int) -> Tensor:
    return torch.full((3, height, width), 128, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("size", "panel"),
    [((100, 200), (640, 320)), ((400, 500), (500, 400)), ((3000, 4000), (1280, 960)), ((2, 2000), (1280, 1))],
)
def test_the_picture_is_two_panels_wide(size: tuple[int, int], panel: tuple[int, int]) -> None:
    picture = side_by_side(grey_image(*size), truth_of([], [], size), found_of([], [], [], size))
    assert picture.size == (2 * panel[0], panel[1] + HEADING_HEIGHT)
    assert max(panel) <= LONGEST_SIDE


def test_boxes_are_drawn_where_they_are_in_the_enlarged_picture() -> None:
    size = (160, 160)  # enlarged twice
    truth = truth_of([[40, 50, 100, 120]], [0], size)
    found = found_of([[20, 60, 90, 130]], [0.9], [1], size)
    picture = side_by_side(grey_image(*size), truth, found)
    assert picture.getpixel((2 * 40, HEADING_HEIGHT + 2 * 85)) == label_color(0)
    assert picture.getpixel((2 * 100, HEADING_HEIGHT + 2 * 85)) == label_color(0)
    assert picture.getpixel((320 + 2 * 20, HEADING_HEIGHT + 2 * 100)) == label_color(1)
    assert picture.getpixel((320 + 2 * 60, HEADING_HEIGHT + 2 * 130)) == label_color(1)
    # Neither panel shows the other's box.
    assert picture.getpixel((2 * 20, HEADING_HEIGHT + 2 * 100)) == GREY
    assert picture.getpixel((320 + 2 * 100, HEADING_HEIGHT + 2 * 85)) == GREY


def test_masks_are_drawn_over_the_enlarged_picture() -> None:
    size = (160, 160)  # enlarged twice
    masks = torch.zeros(1, *size, dtype=torch.bool)
    masks[0, 40:80, 40:60] = True
    truth = replace(truth_of([[40, 40, 80, 80]], [0], size), masks=masks)
    cells = torch.ones(1, 28, 28)
    cells[:, 14:] = 0  # the upper half
    found = Segments(found_of([[100, 60, 140, 100]], [0.9], [1], size), cells)
    picture = side_by_side(grey_image(*size), truth, found)

    def at(x: int, y: int, panel: int = 0) -> object:
        return picture.getpixel((320 * panel + 2 * x, HEADING_HEIGHT + 2 * y))

    assert at(50, 70) != GREY
    assert at(70, 70) == at(50, 90) == GREY
    assert at(120, 70, panel=1) != GREY
    assert at(120, 90, panel=1) == at(90, 70, panel=1) == GREY


def test_colours_of_the_image_are_kept() -> None:
    image = torch.zeros(3, 320, 320, dtype=torch.uint8)
    image[0] = 255
    picture = side_by_side(image, truth_of([], [], (320, 320)), found_of([], [], [], (320, 320)))
    assert picture.getpixel((100, 200)) == (255, 0, 0)
    assert picture.getpixel((500, 200)) == (255, 0, 0)


def test_predictions_below_the_threshold_are_left_out() -> None:
    size = (320, 320)
    picture = side_by_side(
        grey_image(*size), truth_of([], [], size), found_of([[50, 50, 200, 200]], [0.29], [0], size), threshold=0.3
    )
    assert picture.getpixel((320 + 50, HEADING_HEIGHT + 120)) == GREY


def test_the_better_of_two_predictions_lies_on_top() -> None:
    size = (320, 320)
    box = [50.0, 50.0, 200.0, 200.0]
    found = found_of([box, box], [0.9, 0.4], [1, 0], size)
    picture = side_by_side(grey_image(*size), truth_of([], [], size), found)
    assert picture.getpixel((320 + 50, HEADING_HEIGHT + 120)) == label_color(1)


def test_a_contact_sheet_holds_every_picture_in_rows() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    sheet = contact_sheet([Image.new("RGB", (20, 10), colour) for colour in colours], columns=2)
    assert sheet.size == (8 + 2 * 28, 8 + 2 * 18)
    assert [sheet.getpixel(place) for place in ((10, 10), (40, 10), (10, 30))] == colours


@pytest.mark.parametrize(("count", "columns"), [(0, 3), (2, 0)])
def test_a_contact_sheet_of_nothing_is_refused(count: int, columns: int) -> None:
    with pytest.raises(UserError, match="at least one column"):
        contact_sheet([Image.new("RGB", (4, 4))] * count, columns)
