"""The folders flickr30k_entities, refcoco and phrasecut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.metrics.phrases import PhraseRecall, PhraseScores, RecallAt
from glipv2.metrics.references import (
    THRESHOLDS,
    FoundRegion,
    ReferenceScores,
    ReferringAccuracy,
    RegionOverlap,
    RegionScores,
    region_overlap,
)
from glipv2.metrics.run_lengths import bitmap
from glipv2.structures import Detections, Vocabulary
from glipv2.structures.boxes import xywh_to_xyxy
from glipv2.structures.truth import ExpressionTruth, RegionTruth, SentenceTruth
from oracle_cases.case import Case, Unmeasured, read

Record = dict[str, Any]
BATCH = 7  # samples an update

# Flickr30k Entities

PHRASE = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)+) [^\]]*\]")


def flickr_cases(folder: Path) -> Iterator[Case]:
    """The main set under both protocols, then every edge case."""
    expected = read(folder / "expected.json")
    files = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/*") if path.is_file()}
    texts = {name: path.read_text("utf-8") for name, path in files.items()}
    texts["test.txt"] = (folder / "test.txt").read_text("utf-8")
    numbers = {name: expected[name] for name in ("any_box", "merged_box")}
    yield Case("main", numbers, partial(_flickr, texts, read(folder / "predictions.json")))
    for case in read(folder / "edge_cases.json"):
        yield Case(case["name"], case["expected"], partial(_flickr, case["files"], case["predictions"]))


def _flickr(files: Mapping[str, str], predictions: Sequence[Record]) -> Record:
    given: dict[tuple[int, int], Record] = {}
    for own in predictions:
        given.setdefault((int(own["image_id"]), int(own["sentence_id"])), own)
    metric = PhraseRecall()
    for truth in _sentences(files):
        if (truth.image_id, truth.sentence_id) not in given:
            raise UserError(f"no prediction for sentence {truth.sentence_id} of image {truth.image_id}")
        found = given[truth.image_id, truth.sentence_id]["boxes"]
        metric.update([[_corners(boxes) for boxes in found]], [truth])
    scores: PhraseScores = metric.compute()
    return {
        "any_box": _recalls({"all": scores.any_box, **scores.any_box_by_kind}),
        "merged_box": _recalls({"all": scores.merged_box, **scores.merged_box_by_kind}),
    }


def _sentences(files: Mapping[str, str]) -> Iterator[SentenceTruth]:
    """Sentences that have a phrase with a box."""
    for image_id in map(int, files["test.txt"].split()):
        boxes = _annotated(files[f"Annotations/{image_id}.xml"])
        for sentence_id, sentence in enumerate(files[f"Sentences/{image_id}.txt"].splitlines()):
            phrases = [(entity, kinds.strip("/").split("/")) for entity, kinds in PHRASE.findall(sentence)]
            own = [(boxes[entity], tuple(kinds)) for entity, kinds in phrases if entity in boxes]
            if own:
                every, kinds = zip(*own, strict=True)
                yield SentenceTruth(image_id, sentence_id, tuple(map(_corners, every)), kinds)


def _annotated(xml: str) -> dict[str, list[list[float]]]:
    """Boxes by entity."""
    boxes: dict[str, list[list[float]]] = {}
    for thing in ElementTree.fromstring(xml).iter("object"):
        for box in thing.iter("bndbox"):
            corners = [float(box.findtext(side) or "nan") for side in ("xmin", "ymin", "xmax", "ymax")]
            for name in thing.iter("name"):
                boxes.setdefault(name.text or "", []).append(corners)
    return boxes


def _recalls(recalls: Mapping[str, RecallAt]) -> Record:
    numbers = {}
    for name, own in recalls.items():
        shares = {"R@1": own.at_1, "R@5": own.at_5, "R@10": own.at_10, "upper_bound": own.upper_bound}
        hits = {at: share * own.phrases for at, share in shares.items()}
        numbers[name] = {"n_phrases": own.phrases, **shares, "hits": hits}
    return numbers


def _corners(boxes: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)


# RefCOCO, RefCOCO+, RefCOCOg


def refcoco_cases(folder: Path) -> Iterator[Case]:
    """Every split, then every edge case."""
    for split, expected in read(folder / "expected.json")["splits"].items():
        gt, predictions = (read(folder / f"{kind}_{split}.json") for kind in ("gt_finetune", "predictions"))
        yield Case(split, expected, partial(_refcoco, gt, predictions))
    for case in read(folder / "edge_cases.json"):
        yield Case(case["name"], case["expected"], partial(_refcoco, case["gt"], case["predictions"]))


def _refcoco(gt: Record, predictions: Sequence[Record]) -> Record:
    given = {own["image_id"]: own for own in predictions}
    sizes = {image["id"]: (image["height"], image["width"]) for image in gt["images"]}
    target = {own["image_id"]: xywh_to_xyxy(torch.tensor(own["bbox"]).double()) for own in gt["annotations"]}
    found, truth = list[Detections](), list[ExpressionTruth]()
    for expression_id, size in sizes.items():
        if expression_id not in given:
            raise UserError(f"no prediction for expression {expression_id}")
        own = given[expression_id]
        scores = torch.tensor(own["scores"], dtype=torch.float64)
        labels = torch.zeros(len(scores), dtype=torch.int64)
        found.append(Detections(_corners(own["boxes"]), scores, labels, size, Vocabulary(("it",))))
        truth.append(ExpressionTruth(expression_id, target[expression_id]))
    metric = ReferringAccuracy()
    for first in range(0, len(truth), BATCH):
        metric.update(found[first : first + BATCH], truth[first : first + BATCH])
    accuracy: ReferenceScores = metric.compute()
    shares = (accuracy.accuracy, accuracy.recall_5, accuracy.recall_10)
    names = ("R@1", "R@5", "R@10")
    hits = [share * len(truth) for share in shares]
    giou = zip(names, (accuracy.giou_accuracy, accuracy.giou_recall_5, accuracy.giou_recall_10), strict=True)
    by_iou = {"acc@0.5": accuracy.accuracy, **dict(zip(names, shares, strict=True)), "hits": hits}
    return {"n": len(truth), "iou": by_iou, "giou_as_in_mdetr": dict(giou)}


# PhraseCut

WORD_LISTS = Unmeasured("subset by word or image lists of PhraseCut that are not in the folder")


def phrasecut_cases(folder: Path) -> Iterator[Case]:
    """The main set with its subsets, then every edge case."""
    tasks, predictions = read(folder / "refer_val.json"), read(folder / "predictions.json")
    masks, counts = read(folder / "gt_masks.json"), read(folder / "name_att_rel_count.json")
    expected = read(folder / "expected.json")
    sums = ("mean_mask_iou_missing_as_empty", "mean_box_iou_missing_as_empty", "intersection_sum", "union_sum")
    numbers = {name: expected[name] for name in ("all", "subsets", "per_task", *sums)}

    def main() -> Record:
        measured = _phrasecut(tasks, predictions, masks, counts)
        unknown = set(expected["subsets"]) - set(_membership(tasks[0], 0.0, counts))
        return measured | {"subsets": measured["subsets"] | dict.fromkeys(unknown, WORD_LISTS)}

    yield Case("main", numbers, main)
    for case in read(folder / "edge_cases.json"):

        def edge(case: Record = case) -> Record:
            measured = _phrasecut(case["tasks"], case["predictions"], case["gt_masks"], None)
            every: Record = measured | measured["all"]
            return every

        yield Case(case["name"], case["expected"], edge)


def _phrasecut(
    tasks: Sequence[Record], predictions: Sequence[Record], masks: Mapping[str, Record], counts: Record | None
) -> dict[str, Any]:
    given = {own["task_id"]: FoundRegion(bitmap(own["mask"]), _from_xywh(own["boxes"])) for own in predictions}
    truth = []
    for task in tasks:
        mask = bitmap(masks[task["task_id"]])
        member = _membership(task, float(mask.double().mean()), counts) if counts else {}
        subsets = tuple(name for name, belongs in member.items() if belongs)
        truth.append(RegionTruth(task["task_id"], mask, _from_xywh(task["instance_boxes"]), subsets))
    metric = RegionOverlap()
    for first in range(0, len(truth), BATCH):
        part = truth[first : first + BATCH]
        metric.update([given.get(own.task_id) for own in part], part)
    scores = metric.compute()
    alone = {own.task_id: region_overlap([given[own.task_id]], [own]) for own in truth if own.task_id in given}
    return {
        "all": _overlap(scores),
        "subsets": {name: _overlap(own) for name, own in scores.by_subset.items()},
        "per_task": {name: {"mask_iou": own.mean_mask_iou, "box_iou": own.mean_box_iou} for name, own in alone.items()},
        "mean_mask_iou_missing_as_empty": scores.mean_mask_iou_missing_as_empty,
        "mean_box_iou_missing_as_empty": scores.mean_box_iou_missing_as_empty,
        "intersection_sum": scores.intersection_sum,
        "union_sum": scores.union_sum,
    }


def _overlap(scores: RegionScores) -> dict[str, Any]:
    return {
        "count": scores.phrases,
        "mean_mask_iou": scores.mean_mask_iou,
        "cum_mask_iou": scores.cumulative_mask_iou,
        "mask_acc": dict(zip(map(str, THRESHOLDS), scores.mask_accuracy, strict=True)),
        "mean_box_iou": scores.mean_box_iou,
        "box_acc": dict(zip(map(str, THRESHOLDS), scores.box_accuracy, strict=True)),
    }


def _membership(task: Record, share: float, counts: Record) -> dict[str, bool]:
    """Of PhraseCut's subsets those that follow from phrase, number of instances and share of the image."""
    phrase, instances = task["phrase_structure"], len(task["instance_boxes"])
    attributes, relations = phrase["attributes"], phrase["relation_descriptions"]
    name_rank = _rank([phrase["name"]], counts["cat"])
    attribute_rank = _rank(attributes, counts["att"])
    return {
        "c20": name_rank < 20,
        "c100": name_rank < 100,
        "c500": name_rank < 500,
        "c21-100": 20 <= name_rank < 100,
        "c101-500": 100 <= name_rank < 500,
        "c500+": name_rank >= 500,
        "i_single": instances == 1,
        "i_multi": 1 < instances < 5,
        "i_many": instances > 4,
        "p_name": phrase["type"] == "name",
        "p_att": bool(attributes),
        "p_att+": phrase["type"] == "attribute",
        "p_rel": bool(relations),
        "p_rel+": phrase["type"] == "relation",
        "p_verbose": phrase["type"] == "verbose",
        "p_attm": len(attributes) > 1,
        "p_relm": len(relations) > 1,
        "p_att_rel": bool(attributes) and bool(relations),
        "s_small": share < 0.02,
        "s_mid": 0.02 <= share <= 0.2,
        "s_large": share > 0.2,
        "a20": attribute_rank < 20,
        "a100": attribute_rank < 100,
        "a200": attribute_rank < 200,
        "a200+": attribute_rank >= 200,
    }


def _rank(words: Sequence[str], counts: Sequence[tuple[str, int]]) -> int:
    """The place of the most frequent of the words; very high for none."""
    places = {word: place for place, (word, _) in enumerate(counts)}
    return min((places.get(word, 10**6) for word in words), default=10**6)


def _from_xywh(boxes: Sequence[Sequence[float]]) -> Tensor:
    return xywh_to_xyxy(_corners(boxes))
