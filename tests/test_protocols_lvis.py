"""Claims about names in chunks: chunks neither compete nor read each other, and the image is encoded once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from protocol_files import NAMES, lvis, write_images
from torch.testing import assert_close

from glipv2.data.collate import EvaluationCollator
from glipv2.data.lvis import LvisDataset
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.transforms import ExampleDataset
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig, Parts
from glipv2.models.heads.selection import SelectionConfig
from glipv2.protocols.lvis import LvisDetectionConfig, LvisDetectionTask
from glipv2.structures import DetectionBatch, Detections, Vocabulary
from glipv2.tasks.detection import DetectionConfig, DetectionTask

EVERYTHING = SelectionConfig(min_probability=0.0, candidates=100_000, iou_threshold=1.0, max_detections=100_000)


@pytest.fixture
def samples(tmp_path: Path) -> LvisDataset:
    write_images(tmp_path / "images" / "val2017")
    (tmp_path / "lvis.json").write_text(json.dumps(lvis()))
    return LvisDataset(tmp_path / "lvis.json", tmp_path / "images")


def pair(model: ModelConfig, selection: SelectionConfig) -> tuple[LvisDetectionTask, DetectionTask]:
    """The protocol's task and a plain detector on one set of weights."""
    torch.manual_seed(0)
    parts = Parts(model)
    chunked = LvisDetectionConfig(selection=selection).assemble(parts, LossConfig.grounding_only()).eval()
    return chunked, DetectionConfig(selection=selection).assemble(parts, LossConfig.grounding_only()).eval()


def batch_of(samples: LvisDataset, model: ModelConfig, names: tuple[str, ...], a_prompt: int) -> DetectionBatch:
    composer = PromptComposer(Vocabulary(names), model.tokenizer.build(), PromptConfig(eval_names=a_prompt))
    examples = ExampleDataset(samples, model.pixels, None)
    return EvaluationCollator(model.pixels, composer)([examples[index] for index in range(3)])


def of_name(found: Detections, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    own = found.labels == found.vocabulary.label_of_name(name)
    return found.boxes[own], found.scores[own]


def predicted(task: DetectionTask, batch: DetectionBatch, names: tuple[str, ...]) -> list[Detections]:
    task.vocabulary = Vocabulary(names)
    with torch.inference_mode():
        return task.predictions(batch)


def test_a_chunk_scores_as_if_only_its_names_were_asked_for(samples: LvisDataset, model_config: ModelConfig) -> None:
    chunked, plain = pair(model_config, EVERYTHING)
    every = predicted(chunked, batch_of(samples, model_config, NAMES, 2), NAMES)
    for names in (NAMES[:2], NAMES[2:4], NAMES[4:]):
        alone = predicted(plain, batch_of(samples, model_config, names, 0), names)
        for one, other in zip(every, alone, strict=True):
            for name in names:
                assert_close(of_name(one, name), of_name(other, name))


def test_one_chunk_of_all_names_is_one_prompt(samples: LvisDataset, model_config: ModelConfig) -> None:
    chunked, plain = pair(model_config, replace(EVERYTHING, max_detections=50, iou_threshold=0.6))
    batch = batch_of(samples, model_config, NAMES, 40)
    assert len(batch.prompts) == 1
    for one, other in zip(predicted(chunked, batch, NAMES), predicted(plain, batch, NAMES), strict=True):
        assert_close(one.boxes, other.boxes)
        assert_close(one.scores, other.scores)
        assert torch.equal(one.labels, other.labels)


def test_each_chunk_keeps_its_own_boxes_and_all_come_best_first(
    samples: LvisDataset, model_config: ModelConfig
) -> None:
    chunked, _ = pair(model_config, replace(EVERYTHING, max_detections=3))
    for found in predicted(chunked, batch_of(samples, model_config, NAMES, 2), NAMES):
        chunks = [int(torch.isin(found.labels, torch.tensor(own)).sum()) for own in ([0, 1], [2, 3], [4])]
        assert chunks == [3, 3, 3]
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_an_image_is_encoded_once_for_all_chunks(samples: LvisDataset, model_config: ModelConfig) -> None:
    chunked, _ = pair(model_config, EVERYTHING)
    batch = batch_of(samples, model_config, NAMES, 1)
    seen = 0

    def counted(images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        nonlocal seen
        seen += len(images)
        return real(images)

    real = chunked.core.image.forward
    with mock.patch.object(chunked.core.image, "forward", counted):
        predicted(chunked, batch, NAMES)
    assert len(batch.prompts) == 5
    assert seen == 3
