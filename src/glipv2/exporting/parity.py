"""How far an exported model is from the weights it was made of, on pictures, vocabularies and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from glipv2.data.prompts import PromptComposer, PromptConfig, collate_rows
from glipv2.exporting.session import ExportedDetection
from glipv2.models.heads.selection import phrase_probabilities
from glipv2.structures import ImageBatch, PromptBatch, RegionOutputs, Vocabulary
from glipv2.tasks.detection import DetectionTask

SIDES = ((1, 1.0, 1.5), (2, 1.25, 1.0))  # images of a batch, sides as shares of the model's short side
TOLERANCE = 1e-4


@dataclass(frozen=True)
class ParityRow:
    """The largest difference over all regions: of box corners as a share of the image's sides, and of scores.

    graph: which of the exported ones.
    """

    graph: str
    names: int
    batch: int
    height: int
    width: int
    boxes: float
    scores: float

    @property
    def worst(self) -> float:
        """Of both."""
        return max(self.boxes, self.scores)


def parity(
    task: DetectionTask, exported: ExportedDetection, vocabularies: Sequence[Vocabulary], graph: str
) -> list[ParityRow]:
    """A row a vocabulary and size, on noise whose statistics are those of pictures; graph: what to call it."""
    pixels = task.model_config.pixels
    rows = []
    generator = torch.Generator().manual_seed(0)
    for vocabulary in vocabularies:
        for batch, tall, wide in SIDES:
            step = pixels.size_divisor
            height, width = (-(-int(pixels.short_side * side) // step) * step for side in (tall, wide))
            noise = torch.randn(batch, 3, height, width, generator=generator)
            images = ImageBatch(noise, torch.tensor([[height, width]] * batch))
            for prompt in _prompts(task, vocabulary, batch):
                boxes, scores = _differences(task, exported, images, prompt)
                rows.append(ParityRow(graph, len(vocabulary.names), batch, height, width, boxes, scores))
    return rows


def _prompts(task: DetectionTask, vocabulary: Vocabulary, batch: int) -> tuple[PromptBatch, ...]:
    tokenizer = task.model_config.tokenizer.build()
    prompts = PromptComposer(vocabulary, tokenizer, PromptConfig()).all_names()
    return tuple(collate_rows([prompts] * batch, tokenizer))


@torch.no_grad()
def _differences(
    task: DetectionTask, exported: ExportedDetection, images: ImageBatch, prompt: PromptBatch
) -> tuple[float, float]:
    size = images.pixels.shape[-2:]
    told = [_told(outputs, prompt, size, task) for outputs in (task(images, prompt), exported.raw(images, prompt.text))]
    boxes, scores = (float((own - other).abs().max()) for own, other in zip(*told, strict=True))
    return boxes, scores


def _told(outputs: RegionOutputs, prompt: PromptBatch, size: torch.Size, task: DetectionTask) -> tuple[Tensor, Tensor]:
    """Clipped boxes [B, R, 4] as shares of the sides, and scores [B, R, P] of every region and phrase."""
    convention = task.regions.config.boxes
    height, width = int(size[0]), int(size[1])
    whole = torch.tensor([width, height, width, height])
    boxes = [convention.clip(convention.decode(own, outputs.anchors), (height, width)) for own in outputs.box_deltas]
    scores = [
        (phrase_probabilities(logits, phrases) * center.sigmoid()[:, None]).sqrt()
        for logits, phrases, center in zip(outputs.alignment_logits, prompt.phrase_map, outputs.centerness, strict=True)
    ]
    return torch.stack(boxes) / whole, torch.stack(scores)


def vocabularies_for(own: Vocabulary) -> list[Vocabulary]:
    """Three that differ in number and words: the model's first names, one name, and names of something else."""
    first = Vocabulary(own.names[:12])
    return [
        first,
        Vocabulary(("traffic light",)),
        Vocabulary(("person", "fire hydrant", "a dog on a red mat", "stop sign")),
    ]


def table(rows: Sequence[ParityRow]) -> list[list[str]]:
    """A heading and a line a row."""
    heads = [["graph", "names", "batch", "size", "boxes", "scores"]]
    return heads + [
        [row.graph, str(row.names), str(row.batch), f"{row.height} x {row.width}"]
        + [f"{value:.1e}" for value in (row.boxes, row.scores)]
        for row in rows
    ]


def plain(rows: Sequence[ParityRow], precision: str) -> list[dict[str, object]]:
    """For JSON."""
    return [{"precision": precision, **vars(replace(row))} for row in rows]
