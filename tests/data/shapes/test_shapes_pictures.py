"""Pixels, masks and boxes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from glipv2.data.shapes import ShapesDataset
from glipv2.data.shapes.render import DISTANCES, PALETTE, lay_out, paint, stamp_object
from glipv2.data.shapes.scene import SHAPES, TEXTURES, ObjectSpec


def alone(shape: str, diameter: float = 0.4, rotation: float = 0.0, texture: str = "plain") -> ObjectSpec:
    return ObjectSpec("red", shape, "large", texture, (0.5, 0.5), diameter, rotation, 0.3, 1.0)


def whole_mask(spec: ObjectSpec, side: int) -> np.ndarray:
    stamp = stamp_object(spec, side)
    mask = np.zeros((side, side), dtype=bool)
    mask[stamp.rows, stamp.columns] = stamp.mask
    return mask


def test_samples_have_the_promised_types():
    sample = ShapesDataset("train", 1, image_size=96)[0]
    count = len(sample.instances)
    assert sample.image.shape == (3, 96, 96)
    assert sample.image.dtype == torch.uint8
    assert sample.instances.boxes.dtype == sample.instances.areas.dtype == torch.float32
    assert sample.instances.masks.shape == (count, 96, 96)
    assert sample.instances.masks.dtype == sample.instances.is_crowd.dtype == torch.bool
    assert not sample.instances.is_crowd.any()


def test_boxes_are_the_extents_of_the_visible_masks(train):
    for shown in train[:150]:
        for box, mask in zip(shown.sample.instances.boxes, shown.sample.instances.masks, strict=True):
            rows, columns = torch.nonzero(mask, as_tuple=True)
            extents = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == [float(value) for value in extents]


def test_areas_count_the_visible_pixels(train):
    for shown in train[:150]:
        masks = shown.sample.instances.masks
        torch.testing.assert_close(shown.sample.instances.areas, masks.sum(dim=(1, 2)).float())


def test_labels_name_the_objects_of_the_scene(train):
    names = ShapesDataset("train", 1).vocabulary.names
    for shown in train[:50]:
        assert [names[label] for label in shown.sample.instances.labels] == [spec.name for spec in shown.scene.objects]


def test_each_object_keeps_a_visible_share_and_some_are_covered(train):
    shares = []
    for shown in train:
        for spec, area in zip(shown.scene.objects, shown.sample.instances.areas.tolist(), strict=True):
            shares.append(area / whole_mask(spec, 96).sum())
    assert min(shares) >= 0.5
    assert max(shares) <= 1.0
    assert sum(share < 0.95 for share in shares) > 50


def test_no_pixel_belongs_to_two_objects(train):
    assert all(shown.sample.instances.masks.sum(dim=0).max() <= 1 for shown in train[:100])


def test_a_later_object_hides_an_earlier_one():
    stamps = [stamp_object(alone("square"), 64), stamp_object(alone("circle", 0.2), 64)]
    layout = lay_out(stamps, 64)
    assert layout.masks[1, 32, 32]
    assert not layout.masks[0, 32, 32]
    assert layout.visible[0] == layout.total[0] - layout.total[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_fits_its_window_at_every_angle(shape):
    for rotation in np.linspace(0, 2 * math.pi, 25):
        coverage = stamp_object(alone(shape, rotation=float(rotation)), 200).coverage
        edge = np.concatenate([coverage[0], coverage[-1], coverage[:, 0], coverage[:, -1]])
        assert edge.max() == 0.0


def test_areas_of_simple_shapes_follow_geometry():
    radius = 0.4 * 400 / 2
    measured = {shape: whole_mask(alone(shape), 400).sum() / radius**2 for shape in SHAPES}
    assert measured["circle"] == pytest.approx(math.pi, rel=0.01)
    assert measured["square"] == pytest.approx((2 * 0.83) ** 2, rel=0.02)
    assert measured["ring"] == pytest.approx(math.pi * (1.01**2 - 0.51**2), rel=0.01)
    assert measured["cross"] == pytest.approx(4 * 0.33 * (2 - 0.33), rel=0.02)
    assert measured["triangle"] == pytest.approx(3 * math.sqrt(3) * 0.58**2, rel=0.01)
    assert measured["star"] == pytest.approx(5 * 1.18 * 0.5 * math.sin(math.pi / 5), rel=0.01)
    assert measured["heart"] == pytest.approx(2 * 0.84**2 + math.pi * 0.84**2 / 2, rel=0.01)


def test_shapes_differ_even_when_small():
    masks = [whole_mask(alone(shape, 16 / 96), 96) for shape in SHAPES]
    for first in range(len(masks)):
        for second in range(first):
            overlap = (masks[first] & masks[second]).sum() / (masks[first] | masks[second]).sum()
            assert overlap < 0.86, (SHAPES[first], SHAPES[second], overlap)


def test_colors_stay_nearest_to_their_own_in_any_light(train):
    palette = {name: np.array(color, dtype=np.float64) for name, color in PALETTE.items()}
    right = total = 0
    for shown in train:
        image = shown.sample.image.numpy().astype(np.float64)
        for spec, mask in zip(shown.scene.objects, shown.sample.instances.masks.numpy(), strict=True):
            mean = image[:, mask].mean(axis=1)
            # Hue and saturation alone: textures and light change the length of the vector.
            nearest = max(palette, key=lambda name: palette[name] @ mean / np.linalg.norm(palette[name]))
            right += nearest == spec.color
            total += 1
    assert right / total > 0.99


def test_textures_look_different():
    middle = {}
    for texture in TEXTURES:  # away from the dark rim, in the middle 32 x 32 pixels
        tone = stamp_object(alone("square", texture=texture), 128).tone
        begin = tone.shape[0] // 2 - 16
        middle[texture] = tone[begin : begin + 32, begin : begin + 32]
    assert middle["plain"].std() < 0.06
    assert min(middle["striped"].std(), middle["dotted"].std()) > 0.12
    assert np.abs(middle["striped"] - middle["dotted"]).mean() > 0.1


@pytest.mark.parametrize("kind", ["plain", "gradient", "cloudy", "checkered", "striped"])
def test_every_background_is_muted(kind):
    dataset = ShapesDataset("train", 60, image_size=96, with_language=False)
    scene = next(scene for scene in map(dataset.scene, range(60)) if scene.background.kind == kind)
    ground = paint(replace(scene, objects=(), noise=0.0), [], 96).astype(np.float64)
    means = ground.mean(axis=(1, 2))
    assert means.max() - means.min() < 0.25 * means.max()
    spread = ground.std(axis=(1, 2)).max()
    assert spread == 0 if kind == "plain" else spread > 3


def test_drawing_stays_in_single_precision():
    for shape in DISTANCES:
        for texture in TEXTURES:
            stamp = stamp_object(alone(shape, texture=texture), 64)
            assert stamp.coverage.dtype == stamp.tone.dtype == np.float32


def test_a_larger_image_shows_the_same_scene():
    small, large = (ShapesDataset("val", 20, image_size=side, max_objects=1) for side in (96, 192))
    for index in range(20):
        assert small.scene(index) == large.scene(index)
        torch.testing.assert_close(small[index].instances.boxes * 2, large[index].instances.boxes, atol=2, rtol=0)


def test_language_changes_neither_pictures_nor_annotations():
    spoken, silent = (ShapesDataset("val", 5, with_language=choice) for choice in (True, False))
    for index in range(5):
        torch.testing.assert_close(spoken[index].image, silent[index].image)
        torch.testing.assert_close(spoken[index].instances.boxes, silent[index].instances.boxes)
        assert spoken[index].captions
        assert not silent[index].captions
        assert not silent[index].questions
