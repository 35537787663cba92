"""An exported detector in onnxruntime, with the same `detect` as a trained model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glipv2.config import from_plain
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.models import ModelConfig
from glipv2.models.heads.selection import ScoredBoxes, candidate_boxes, joined, select
from glipv2.structures import DetectionBatch, Detections, ImageBatch, PromptBatch, RegionOutputs, TextBatch, Vocabulary
from glipv2.tasks.base import Task
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.grounding import image_by_image, in_original
from glipv2.tokenizer import carried

TEXT_FILE, DETECTOR_FILE, RECORD_FILE, PARITY_FILE = "text.onnx", "detector.onnx", "model.json", "parity.json"
INSTALL = 'pip install "glipv2[onnx]"'


def opened_graph(path: Path) -> Any:
    """An onnxruntime session of a file; UserError where the file or the library is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"onnxruntime is not installed; {INSTALL}") from error
    if not path.is_file():
        raise UserError(f"{path} is missing; expected a folder that glipv2 export wrote")
    return onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())


class ExportedGraphs:
    """The two graphs as functions of tensors; the tokens of a prompt are computed once."""

    def __init__(self, text: Any, detector: Any) -> None:
        self.text, self.detector = text, detector
        self._tokens: dict[bytes, Tensor] = {}

    def tokens(self, text: TextBatch) -> Tensor:
        """[B, L] ids to [B, L, T]."""
        key = text.token_ids.numpy().tobytes() + text.token_mask.numpy().tobytes()
        if key not in self._tokens:
            inputs = {"token_ids": text.token_ids.numpy(), "token_mask": text.token_mask.numpy()}
            self._tokens[key] = torch.from_numpy(self.text.run(None, inputs)[0])
        return self._tokens[key]

    def outputs(self, pixels: Tensor, text: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Alignment logits, box deltas, centerness."""
        inputs = {"pixels": pixels.numpy(), "tokens": self.tokens(text).numpy(), "token_mask": text.token_mask.numpy()}
        alignment, deltas, centerness = (torch.from_numpy(value) for value in self.detector.run(None, inputs))
        return alignment, deltas, centerness


class ExportedDetection(nn.Module):
    """What `Predictor` asks of a task, answered by graphs."""

    def __init__(self, graphs: ExportedGraphs, model: ModelConfig, config: DetectionConfig, names: Vocabulary) -> None:
        super().__init__()
        self.graphs, self.model_config, self.config = graphs, model, config
        self.vocabulary: Vocabulary | None = names
        self.regions = model.regions.build(model.image.width, 1, model.image.levels)  # for its anchors alone

    def subtasks(self) -> Mapping[str, Any]:
        """Detection alone."""
        return {"detection": self}

    def parts(self) -> Any:
        """An exported model detects and nothing else."""
        raise UserError("an exported model only detects; load the weights that it was exported from for other tasks")

    def predictions(self, batch: DetectionBatch) -> list[Detections]:
        """As `DetectionTask.predictions`."""
        assert self.vocabulary is not None, "set by detect"
        found = image_by_image(batch, self.model_config.pixels.size_divisor, self._found)
        return in_original(found, batch, self.vocabulary)

    def raw(self, images: ImageBatch, text: TextBatch) -> RegionOutputs:
        """As the region head gives them."""
        alignment, deltas, centerness = self.graphs.outputs(images.pixels.contiguous(), text)
        sizes = level_sizes(images.pixels.shape[-2:], self.model_config)
        maps = tuple(torch.empty(1, 1, height, width) for height, width in sizes)
        counts = tuple(height * width for height, width in sizes)
        return RegionOutputs(alignment, deltas, centerness, self.regions.anchors(maps), counts)

    def _found(self, images: ImageBatch, prompts: Sequence[PromptBatch]) -> list[ScoredBoxes]:
        selection, convention = self.config.selection, self.model_config.regions.boxes
        found: list[list[ScoredBoxes]] = [[] for _ in range(len(images))]
        for prompt in prompts:
            outputs = self.raw(images, prompt.text)
            for row, (height, width) in enumerate(images.image_sizes.tolist()):
                phrases, labels = prompt.phrase_map[row], prompt.phrase_labels[row]
                found[row].append(
                    candidate_boxes(outputs, row, phrases, labels, (height, width), convention, selection)
                )
        return [select(joined(parts), convention, selection) for parts in found]


def level_sizes(size: Sequence[int], model: ModelConfig) -> list[tuple[int, int]]:
    """Height and width of each pyramid level for pixels of a size: halved and rounded up from the first stride on."""
    stride = model.regions.first_stride
    height, width = -(-size[0] // stride), -(-size[1] // stride)
    sizes = []
    for _ in range(model.image.levels):
        sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return sizes


class OnnxDetector(Predictor):
    """`detect` as `glipv2.load(…).detect`, any names, any number and size of images, in onnxruntime.

    >>> model = OnnxDetector.load("exported")
    >>> found = model.detect("photo.jpg", ["red circle", "blue square"])
    """

    def __init__(self, task: Task, device: str = "cpu") -> None:
        super().__init__(task, device)

    @classmethod
    def load(cls, weights: str | Path, device: str = "cpu") -> OnnxDetector:  # type: ignore[override]  # fixed graphs
        """From a folder that `glipv2 export` wrote; UserError when it can't be read."""
        folder = Path(weights)
        graphs = ExportedGraphs(opened_graph(folder / TEXT_FILE), opened_graph(folder / DETECTOR_FILE))
        return cls(exported_task(graphs, folder / RECORD_FILE), device)


def exported_task(graphs: ExportedGraphs, record_file: Path) -> Any:
    """The task of a record with its graphs."""
    try:
        record = json.loads(record_file.read_text("utf-8"))
        model = from_plain(ModelConfig, record["model"], str(record_file))
        config = from_plain(DetectionConfig, record["task_config"], str(record_file))
        if record.get("tokenizer") is not None:
            model.tokenizer.source = carried(record["tokenizer"])
        return ExportedDetection(graphs, model, config, Vocabulary.from_json(record["vocabulary"]))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{record_file}: not the record of an exported model ({error!r})") from error
