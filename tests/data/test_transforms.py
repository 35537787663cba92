"""Claims about transforms: image, boxes, labels and masks stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from glipv2.data.augment import AugmentConfig
from glipv2.data.transforms import ExampleDataset, mentions_side, mirrored, resize
from glipv2.pixels import PixelConfig
from glipv2.structures import Caption, Instances, Question, Sample, Vocabulary

HEIGHT, WIDTH = 60, 80
PIXELS = PixelConfig(short_side=60, max_long_side=200)  # leaves pictures of 60 x 80 as they are
OBJECTS = ((10, 20, 30, 50), (50, 5, 70, 25), (40, 40, 44, 56))  # xyxy; label k is painted in channel k


def sample(**language: object) -> Sample:
    """A black picture with one rectangle in each channel, and their masks."""
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    masks = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.bool)
    for index, (left, top, right, bottom) in enumerate(OBJECTS):
        image[index, top:bottom, left:right] = 200
        masks[index, top:bottom, left:right] = True
    boxes = torch.tensor(OBJECTS, dtype=torch.float32)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    instances = Instances(boxes, torch.tensor([0, 1, 2]), torch.tensor([False, False, True]), areas, masks)
    return Sample(image, 5, "a.png", instances, **language)  # type: ignore[arg-type]


class Samples:
    """A data set of given samples."""

    vocabulary = Vocabulary(("red", "green", "blue"))
    scored_names = vocabulary.names

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def examples(augment: AugmentConfig | None, *samples: Sample, pixels: PixelConfig = PIXELS) -> ExampleDataset:
    return ExampleDataset(Samples(samples or (sample(),)), pixels, augment)


# Mirror images


def test_a_mirror_image_mirrors_boxes_and_masks() -> None:
    own = sample()
    image, instances = mirrored(own.image, own.instances)
    assert instances.boxes.tolist() == [[50, 20, 70, 50], [10, 5, 30, 25], [36, 40, 40, 56]]
    assert instances.masks is not None
    for index, (left, top, right, bottom) in enumerate(instances.boxes.int().tolist()):
        assert image[index].nonzero().aminmax(dim=0)[0].tolist() == [top, left]
        assert image[index].nonzero().aminmax(dim=0)[1].tolist() == [bottom - 1, right - 1]
        assert torch.equal(image[index] > 0, instances.masks[index])


def test_a_mirror_image_of_a_mirror_image_is_the_image() -> None:
    own = sample()
    image, instances = mirrored(*mirrored(own.image, own.instances))
    assert torch.equal(image, own.image)
    assert torch.equal(instances.boxes, own.instances.boxes)
    assert instances.masks is not None
    assert own.instances.masks is not None
    assert torch.equal(instances.masks, own.instances.masks)
    assert own.instances.boxes.tolist() == [list(box) for box in OBJECTS]  # nothing was written into the sample


def test_an_image_without_objects_can_be_mirrored_and_resized() -> None:
    image, instances = mirrored(torch.zeros(3, 4, 6, dtype=torch.uint8), Instances.empty())
    image, instances = resize(image, instances, (8, 12))
    assert instances.boxes.shape == (0, 4)
    assert image.shape == (3, 8, 12)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (("a dog on the left",), True),
        (("The RIGHTMOST cup",), True),
        (("what is right of the dog?",), True),
        (("turn_left 2", "keep-right"), True),
        (("LeftTurn",), True),
        (("leftTurn",), True),
        (("turnRight",), True),
        (("LEFT_ARROW",), True),
        (("lft guy",), True),
        (("man on the rt",), True),
        (("lefty",), True),
        (("leftest chair",), True),
        (("topleft",), True),
        (("right2",), True),
        (("a bright leftover dog",), False),
        (("copyright", "a cleft rock", "BRIGHT and upright", "LEFTOVER", "a Wright", "art cart", "EndLeftover"), False),
        ((), False),
    ],
)
def test_a_text_that_tells_sides_is_found(texts: tuple[str, ...], told: bool) -> None:
    assert mentions_side(sample(captions=tuple(Caption(text) for text in texts))) is told
    assert mentions_side(sample(questions=tuple(Question(text, ("yes",)) for text in texts))) is told


def test_nothing_is_mirrored_where_a_class_name_tells_a_side(caplog: pytest.LogCaptureFixture) -> None:
    class Signs(Samples):
        vocabulary = Vocabulary(("stop", "turn_left", "bus"))  # negatives stand in the prompt too

    with caplog.at_level("INFO"):
        signs = ExampleDataset(Signs((sample(),)), PIXELS, AugmentConfig(flip=1.0))
    assert "no picture is mirrored: 1 class names say left or right, as 'turn_left'" in caplog.text
    for _ in range(20):
        example = signs[0]
        assert example.instances.boxes[0].tolist() == [10, 20, 30, 50]
        assert example.instances.masks is not None
        assert torch.equal(example.instances.masks, sample().instances.masks)


def test_flips_happen_as_often_as_asked_and_never_under_a_text_with_sides() -> None:
    torch.manual_seed(0)
    plain = examples(AugmentConfig(flip=0.5))
    flips = [bool((plain[0].instances.boxes[0, 0] == 50).item()) for _ in range(200)]
    assert 70 < sum(flips) < 130
    sided = examples(AugmentConfig(flip=1.0), sample(captions=(Caption("the red one on the left"),)))
    assert all(sided[0].instances.boxes[0].tolist() == [10, 20, 30, 50] for _ in range(20))
    assert all(examples(AugmentConfig(flip=1.0))[0].instances.boxes[0, 0] == 50 for _ in range(20))
    assert all(examples(AugmentConfig(flip=0.0))[0].instances.boxes[0, 0] == 10 for _ in range(20))


# Sizes


def test_resizing_scales_boxes_and_masks_with_the_picture() -> None:
    own = sample()
    image, instances = resize(own.image, own.instances, (120, 240))
    assert image.shape == (3, 120, 240)
    assert instances.boxes.tolist() == [[30, 40, 90, 100], [150, 10, 210, 50], [120, 80, 132, 112]]
    assert instances.masks is not None
    assert instances.masks.shape == (3, 120, 240)
    assert instances.masks.dtype == torch.bool
    assert instances.masks[0].nonzero().aminmax(dim=0)[0].tolist() == [40, 30]
    assert instances.masks[0].nonzero().aminmax(dim=0)[1].tolist() == [99, 89]
    assert_close(instances.areas, own.instances.areas)  # the data set's own, in its own pixels


@pytest.mark.parametrize("size", [(40, 31), (211, 180), (90, 35), (1, 1), (45, 70)])
def test_resizing_gives_pillows_very_pixels(size: tuple[int, int]) -> None:
    """The released code resizes with Pillow; a grey level more or less moves every box a little."""
    from PIL import Image

    rng = torch.Generator().manual_seed(0)
    image = torch.randint(256, (3, 90, 70), generator=rng, dtype=torch.uint8)
    ours = resize(image, Instances.empty(), size)[0]
    theirs = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size[::-1], Image.Resampling.BILINEAR)
    assert torch.equal(ours, torch.from_numpy(np.array(theirs)).permute(2, 0, 1))
    assert ours.is_contiguous()


def test_masks_are_resized_to_the_nearest_pixel() -> None:
    own = sample()
    instances = resize(own.image, own.instances, (30, 40))[1]
    assert own.instances.masks is not None
    assert instances.masks is not None
    assert torch.equal(instances.masks, own.instances.masks[:, ::2, ::2])


def test_evaluation_only_resizes_and_keeps_the_truth_in_original_pixels() -> None:
    example = examples(None, pixels=PixelConfig(short_side=120, max_long_side=400))[0]
    assert example.image.shape == (3, 120, 160)
    assert example.instances.boxes[0].tolist() == [20, 40, 60, 100]
    assert example.truth.boxes[0].tolist() == [10, 20, 30, 50]
    assert (example.truth.image_size, example.truth.image_id, example.truth.name) == ((HEIGHT, WIDTH), 5, "a.png")
    assert example.truth.is_crowd.tolist() == [False, False, True]


def test_the_short_side_is_drawn_from_those_given() -> None:
    torch.manual_seed(0)
    drawn = examples(AugmentConfig(flip=0.0, short_sides=[30, 60, 90]), pixels=PIXELS)
    assert {drawn[0].image.shape[-2] for _ in range(40)} == {30, 60, 90}


# Random steps


@pytest.mark.parametrize(
    "augment",
    [AugmentConfig(crop=1.0), AugmentConfig(zoom_out=1.0), AugmentConfig(crop=1.0, zoom_out=1.0, color=0.4)],
    ids=["crop", "zoom out", "all"],
)
def test_every_random_step_keeps_boxes_labels_and_masks_on_their_objects(augment: AugmentConfig) -> None:
    torch.manual_seed(0)
    data = examples(augment)
    counts = set()
    for _ in range(60):
        found = data[0].instances
        assert len(found.labels) == len(found.boxes) == len(found.is_crowd) == len(found.areas)
        assert found.is_crowd.tolist() == [label == 2 for label in found.labels.tolist()]
        assert found.masks is not None
        height, width = found.masks.shape[-2:]
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, [0, 2]] <= width + 1e-3).all()
        assert (found.boxes[:, [1, 3]] <= height + 1e-3).all()
        for box, mask in zip(found.boxes, found.masks, strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert_close(box, torch.tensor(tight, dtype=torch.float32), atol=1.5, rtol=0.02)  # resizing rounds
        counts.add(tuple(found.labels.tolist()))
    assert (0, 1, 2) in counts
    assert (len(counts) > 1) == bool(augment.crop)  # a crop loses objects, a larger canvas none


def test_random_steps_paint_objects_where_the_boxes_are() -> None:
    torch.manual_seed(1)
    data = examples(AugmentConfig(crop=1.0, zoom_out=1.0))
    for _ in range(30):
        example = data[0]
        for box, label in zip(example.instances.boxes.tolist(), example.instances.labels.tolist(), strict=True):
            column, row = int((box[0] + box[2]) / 2), int((box[1] + box[3]) / 2)
            middle = example.image[:, row, column]
            assert middle.argmax() == label
            assert middle[label] > 150  # crops are enlarged, which blurs


def test_an_image_without_objects_passes_every_random_step() -> None:
    torch.manual_seed(0)
    empty = Sample(torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8), 1, "empty", Instances.empty())
    example = examples(AugmentConfig(crop=1.0, zoom_out=1.0, color=0.3), empty)[0]
    assert example.instances.boxes.shape == (0, 4)
    assert example.instances.masks is None
    assert example.image.dtype == torch.uint8


def test_colour_jitter_changes_pixels_and_no_box() -> None:
    torch.manual_seed(0)
    example = examples(AugmentConfig(flip=0.0, color=0.5))[0]
    assert not torch.equal(example.image, sample().image)
    assert torch.equal(example.instances.boxes, sample().instances.boxes)


def test_a_box_a_pixel_past_the_border_is_cut_and_not_dropped() -> None:
    own = sample()
    own.instances.boxes[0] = torch.tensor([-1.0, 20, 30, HEIGHT + 1])  # as Flickr30k's, which count from 1
    example = examples(AugmentConfig(flip=0.0, color=0.5), own)[0]
    assert example.instances.labels.tolist() == [0, 1, 2]
    assert example.instances.boxes[0].tolist() == [0, 20, 30, HEIGHT]
    for kept in (example.truth, examples(None, own)[0].instances):
        assert kept.boxes[0].tolist() == [-1, 20, 30, HEIGHT + 1]


def test_what_is_drawn_follows_torchs_seed() -> None:
    data = examples(AugmentConfig(crop=0.5, zoom_out=0.5, color=0.3, short_sides=[40, 60]))

    def drawn(seed: int) -> list[float]:
        torch.manual_seed(seed)
        return [float(data[0].image.float().mean()) for _ in range(5)]

    assert drawn(3) == drawn(3) != drawn(4)
