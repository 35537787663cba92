"""Which scenes a split gives."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
import torch

from glipv2.data.shapes import HELD_OUT, NAMES, SEEN, ShapesDataset
from glipv2.data.shapes.scene import (
    COLORS,
    HELD_OUT_PAIRS,
    RARE_PAIRS,
    SHAPES,
    WORLDS,
    Cast,
    random_source,
    sample_scene,
)
from glipv2.data.sources import ShapesData
from glipv2.errors import UserError


def scenes(split: str, count: int, seed: int = 0) -> list:
    return [sample_scene(random_source(seed, split, number, "scene"), split, 6) for number in range(count)]


def test_a_known_scene_is_the_same_in_every_process():
    """Literal values: hashes of strings, and whatever hung on them, would differ from run to run."""
    dataset = ShapesDataset("val", 20, seed=7, image_size=64)
    sample = dataset[4]
    names = [spec.name for spec in dataset.scene(4).objects]
    assert names == ["purple circle", "green cross", "green cross", "red ring"]
    assert sample.captions[0].text == "a red ring right of a circle. you can also see two green crosses."
    assert [question.text for question in sample.questions] == [
        "is the ring plain, striped or dotted?",
        "what is the color of the large ring?",
        "is the red ring small or large?",
    ]
    boxes = torch.tensor([[4.0, 3, 29, 28], [34, 9, 48, 23], [17, 25, 42, 51], [37, 35, 57, 54]])
    torch.testing.assert_close(sample.instances.boxes, boxes)
    row = torch.tensor([[147, 154, 101, 151], [166, 163, 135, 156], [139, 142, 105, 133]])
    # One grey level is left for the arithmetic of other processors.
    torch.testing.assert_close(sample.image[:, 30, ::16].long(), row, atol=1, rtol=0)


def test_a_scene_depends_on_seed_split_and_index():
    images = [ShapesDataset(split, 2, seed)[i].image for split in ("train", "val") for seed in (0, 1) for i in (0, 1)]
    checksums = {hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images}
    assert len(checksums) == 8


def test_the_length_of_the_data_set_changes_no_scene():
    torch.testing.assert_close(ShapesDataset("train", 5)[4].image, ShapesDataset("train", 50)[4].image)


def test_train_and_val_share_no_scene():
    assert not set(scenes("train", 500)) & set(scenes("val", 500))


def test_train_and_val_hold_no_held_out_pair():
    shown = {spec.name for split in ("train", "val") for scene in scenes(split, 1000) for spec in scene.objects}
    assert not shown & set(HELD_OUT)


def test_every_seen_name_occurs_often_in_a_thousand_training_scenes():
    counts = Counter(spec.name for scene in scenes("train", 1000) for spec in scene.objects)
    assert set(counts) == set(SEEN)
    assert min(counts.values()) >= 30


def test_every_unseen_scene_holds_a_held_out_object_and_some_hold_others():
    shown = [{spec.name for spec in scene.objects} for scene in scenes("unseen", 500)]
    assert all(names & set(HELD_OUT) for names in shown)
    assert any(names & set(SEEN) for names in shown)
    assert set(HELD_OUT) <= set().union(*shown)


def test_held_out_pairs_spread_over_colors_and_shapes():
    assert len(HELD_OUT_PAIRS) == 8
    assert all(count == 1 for count in Counter(color for color, _ in HELD_OUT_PAIRS).values())
    assert {shape for _, shape in HELD_OUT_PAIRS} == set(SHAPES)
    assert len(set(HELD_OUT) | set(SEEN)) == len(COLORS) * len(SHAPES) == 56


def test_all_splits_speak_of_the_same_names_and_score_their_own():
    train, val, unseen = (ShapesDataset(split, 1) for split in ("train", "val", "unseen"))
    assert train.vocabulary == val.vocabulary == unseen.vocabulary
    assert train.vocabulary.names == NAMES
    assert train.vocabulary.category_ids == tuple(range(1, 57))
    assert train.scored_names == val.scored_names == SEEN
    assert unseen.scored_names == HELD_OUT


@pytest.mark.parametrize("max_objects", [1, 3, 6])
def test_scenes_hold_one_to_max_objects(max_objects):
    dataset = ShapesDataset("train", 100, max_objects=max_objects, with_language=False)
    counts = {len(dataset[index].instances) for index in range(100)}
    assert counts == set(range(1, max_objects + 1))


def test_sizes_are_told_by_the_diameter():
    specs = [spec for scene in scenes("train", 300) for spec in scene.objects]
    assert max(spec.diameter for spec in specs if spec.size == "small") <= 0.22
    assert min(spec.diameter for spec in specs if spec.size == "large") >= 0.28


def test_another_epoch_shows_new_scenes_and_goes_on_counting():
    dataset = ShapesDataset("train", 10)
    later = dataset.at_epoch(3)
    assert [later[index].image_id for index in (0, 9)] == [30, 39]
    assert later[0].name == "shapes/train/30"
    torch.testing.assert_close(later[4].image, ShapesDataset("train", 100)[34].image)
    assert dataset[0].image_id == 0


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_outside_the_data_set_is_an_index_error(index):
    with pytest.raises(IndexError, match="shapes/val"):
        ShapesDataset("val", 3)[index]


def test_a_misspelt_split_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'unseen'"):
        ShapesDataset("unsen", 3)


@pytest.mark.parametrize("wrong", [{"length": 0}, {"image_size": 32}, {"max_objects": 0}, {"max_objects": 7}])
def test_numbers_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        ShapesDataset(**{"split": "val", "length": 3, **wrong})


def test_rare_names_are_rare_in_training_alone():
    counts = {}
    for split in ("train", "val"):
        dataset = ShapesData(rare_share=0.1, image_size=64, train_scenes=600, eval_scenes=600).dataset(split)
        names = Counter(spec.name for index in range(600) for spec in dataset.scene(index).objects)
        rare = sum(names[" ".join(pair)] for pair in RARE_PAIRS) / len(RARE_PAIRS)
        counts[split] = rare / (sum(names.values()) / len(names))
    assert counts["train"] < 0.3
    assert counts["val"] > 0.8
    assert {color for color, _ in RARE_PAIRS} == set(COLORS)
    assert {shape for _, shape in RARE_PAIRS} == set(SHAPES)
    assert not set(RARE_PAIRS) & set(HELD_OUT_PAIRS)


@pytest.mark.parametrize("world", ["shapes", "signs"])
def test_few_scenes_hold_every_name_so_often(world):
    dataset = ShapesData(world=world, shots=2, image_size=64).dataset("train")
    assert len(dataset) == 2 * len(dataset.scored_names)
    for round_ in range(2):
        firsts = range(round_ * len(dataset.scored_names), (round_ + 1) * len(dataset.scored_names))
        for index, name in zip(firsts, dataset.scored_names, strict=True):
            assert name in {spec.name for spec in dataset.scene(index).objects}
    assert len(ShapesData(world=world, shots=2, eval_scenes=7, image_size=64).dataset("val")) == 7


def test_another_world_shares_some_colors_and_no_shape_or_texture():
    shapes, signs = WORLDS["shapes"], WORLDS["signs"]
    assert set(signs.colors) & set(shapes.colors) == {"red", "green", "blue"}
    assert not {*signs.shapes, *signs.textures} & {*shapes.shapes, *shapes.textures}
    dataset = ShapesDataset("train", 40, image_size=64, with_language=False, cast=Cast(signs))
    sample = dataset[3]
    assert sample.instances.areas.min() > 20
    assert dataset.vocabulary.names[0] == "red hexagon"
    assert {spec.shape for index in range(40) for spec in dataset.scene(index).objects} == set(signs.shapes)


@pytest.mark.parametrize(
    ("settings", "needs", "split", "message"),
    [
        ({"world": "sings"}, set(), "val", "data.world: no world 'sings'; did you mean 'signs'?"),
        ({"world": "signs"}, set(), "unseen", "data.world=signs has no unseen split"),
        ({"world": "signs"}, {"questions"}, "val", "needs questions, which data.world=signs does not have"),
    ],
)
def test_a_world_is_not_asked_for_what_it_has_not(settings, needs, split, message):
    data = ShapesData(**settings)
    with pytest.raises(UserError, match=message.replace("?", ".")):
        data.check_needs(frozenset(needs), [split], "task")
        data.dataset(split, frozenset(needs))
