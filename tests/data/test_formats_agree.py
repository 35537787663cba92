"""Claims about the same photographs in every layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from glipv2.data.coco import CocoDataset
from glipv2.data.dataset import SampleDataset
from glipv2.data.lvis import LvisDataset
from glipv2.data.mdetr import MdetrDataset
from glipv2.data.odvg import OdvgDetection, OdvgGrounding
from glipv2.data.voc import VocDataset
from glipv2.data.yolo import YoloDataset
from glipv2.structures import ImageTruth, Vocabulary

SPLITS = ("train", "val")


@pytest.fixture
def mini(shared: Path) -> Path:
    return shared / "data" / "coco_mini"


def by_id(dataset: SampleDataset) -> dict[int, ImageTruth]:
    return {truth.image_id: truth for truth in (dataset.truth(index) for index in range(len(dataset)))}


def names(truth: ImageTruth, vocabulary: Vocabulary) -> list[str]:
    return [vocabulary.names[label] for label in truth.labels.tolist()]


def coco(mini: Path, split: str) -> tuple[CocoDataset, Mapping[int, ImageTruth]]:
    dataset = CocoDataset(mini / f"annotations/instances_{split}2017.json", mini / f"images/{split}2017")
    return dataset, by_id(dataset)


@pytest.mark.parametrize("split", SPLITS)
def test_odvg_and_yolo_have_the_boxes_of_coco_without_crowds(mini: Path, split: str) -> None:
    dataset, truths = coco(mini, split)
    odvg = OdvgDetection(mini / f"annotations/odvg_det_{split}.jsonl", mini / f"images/{split}2017")
    yolo = YoloDataset(mini / "yolo/data.yaml", split)
    for other, nearness in ((odvg, 0.0), (yolo, 1e-3)):  # six digits of parts of 640 pixels
        found = by_id(other)
        assert found.keys() == truths.keys()
        for identity, truth in truths.items():
            own = ~truth.is_crowd
            torch.testing.assert_close(found[identity].boxes, truth.boxes[own], atol=nearness, rtol=0)
            expected = [name for name, kept in zip(names(truth, dataset.vocabulary), own, strict=True) if kept]
            assert names(found[identity], other.vocabulary) == expected
            assert (found[identity].name, found[identity].image_size) == (truth.name, truth.image_size)


@pytest.mark.parametrize("split", SPLITS)
def test_voc_has_the_boxes_of_coco_in_whole_pixels_with_crowds(mini: Path, split: str) -> None:
    dataset, truths = coco(mini, split)
    voc = VocDataset(mini / "voc", split, mini / "images")
    found = by_id(voc)
    assert found.keys() == truths.keys()
    for identity, truth in truths.items():
        outward = torch.cat([truth.boxes[:, :2].floor(), truth.boxes[:, 2:].ceil()], dim=1)
        assert found[identity].boxes.equal(outward)
        assert found[identity].is_crowd.equal(truth.is_crowd)
        assert names(found[identity], voc.vocabulary) == names(truth, dataset.vocabulary)


@pytest.mark.parametrize("split", SPLITS)
def test_lvis_has_the_boxes_of_coco_without_crowds(mini: Path, split: str) -> None:
    _, truths = coco(mini, split)
    found = by_id(LvisDataset(mini / f"annotations/lvis_{split}.json", mini / f"images/{split}2017"))
    for identity, truth in truths.items():
        assert sorted(found[identity].boxes.tolist()) == sorted(truth.boxes[~truth.is_crowd].tolist())


@pytest.mark.parametrize("split", SPLITS)
def test_odvg_grounds_the_captions_of_mdetr_in_the_same_boxes(mini: Path, split: str) -> None:
    mdetr = by_id(MdetrDataset(mini / f"annotations/grounding_{split}.json", mini / f"images/{split}2017"))
    odvg = by_id(OdvgGrounding(mini / f"annotations/odvg_{split}.jsonl", mini / f"images/{split}2017"))
    assert odvg.keys() == mdetr.keys()
    for identity, truth in mdetr.items():
        assert grounded(odvg[identity]) == grounded(truth)


def grounded(truth: ImageTruth) -> list[tuple[str, dict[object, list[list[float]]]]]:
    """Captions with the boxes of each phrase, crowds left out."""
    rows = []
    for caption in truth.captions:
        boxes = {
            phrase.spans: sorted(truth.boxes[one].tolist() for one in phrase.instances if not truth.is_crowd[one])
            for phrase in caption.phrases
        }
        rows.append((caption.text, {spans: own for spans, own in boxes.items() if own}))
    return rows
