"""An exported detector in onnxruntime or torch, with the same `detect` as a trained model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from glipv2.config import from_plain
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.models import ModelConfig
from glipv2.models.heads.selection import ScoredBoxes, candidate_boxes, joined, select
from glipv2.remembering import remember
from glipv2.structures import DetectionBatch, Detections, ImageBatch, PromptBatch, RegionOutputs, TextBatch, Vocabulary
from glipv2.tasks.detection import DetectionConfig
from glipv2.tasks.grounding import image_by_image, in_original
from glipv2.tokenizer import carried

TEXT, DETECTOR, FIXED = "text", "detector", "detector_fixed"  # names of files, whose suffix tells their runtime
ONNX, PROGRAM = ".onnx", ".pt2"
RECORD_FILE, PARITY_FILE = "model.json", "parity.json"
INSTALL = 'pip install "glipv2[onnx]"'

GraphFunction = Callable[..., tuple[Tensor, ...]]  # the inputs of a graph, in its order, to its outputs


def opened_graph(path: Path) -> GraphFunction:
    """A file of either kind as a function of tensors; UserError where the file or its runtime is missing."""
    if not path.is_file():
        option = " --torch" if path.suffix == PROGRAM else ""
        raise UserError(f"{path} is missing; expected a folder that glipv2 export{option} wrote")
    return _of_program(path) if path.suffix == PROGRAM else _of_session(path)


def _of_session(path: Path) -> GraphFunction:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"onnxruntime is not installed; {INSTALL}") from error
    session = onnxruntime.InferenceSession(str(path), providers=onnxruntime.get_available_providers())
    names = [one.name for one in session.get_inputs()]

    def outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(value) for value in session.run(None, given))

    return outputs


def _of_program(path: Path) -> GraphFunction:
    try:
        # what the exporter assumed of open sides is not held against what comes: see `writing.opened_to_one`
        module = torch.export.load(path).module(check_guards=False)
    except Exception as error:  # a damaged archive fails in as many ways as there are parts
        raise UserError(f"{path}: not a torch.export program that this torch reads ({error!r:.100})") from error

    def outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
        found = module(*inputs)
        return (found,) if isinstance(found, Tensor) else tuple(found)

    return outputs


class Graphs(Protocol):
    """What the detector of a folder computes."""

    def outputs(self, pixels: Tensor, text: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Alignment logits [B, R, L], box deltas [B, R, 4], centerness logits [B, R]."""


class ExportedGraphs:
    """The two graphs as functions of tensors; the tokens of a prompt are computed once."""

    def __init__(self, text: GraphFunction, detector: GraphFunction) -> None:
        self.text, self.detector = text, detector
        self._tokens: dict[bytes, Tensor] = {}

    @classmethod
    def in_folder(cls, folder: Path, suffix: str) -> ExportedGraphs:
        """Both files of one kind."""
        return cls(opened_graph(folder / f"{TEXT}{suffix}"), opened_graph(folder / f"{DETECTOR}{suffix}"))

    def tokens(self, text: TextBatch) -> Tensor:
        """[B, L] ids to [B, L, T]."""
        key = text.token_ids.numpy().tobytes() + text.token_mask.numpy().tobytes()
        if key in self._tokens:
            return self._tokens[key]
        (tokens,) = self.text(text.token_ids, text.token_mask)
        return remember(self._tokens, key, tokens)

    def outputs(self, pixels: Tensor, text: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
        """See `Graphs`."""
        alignment, deltas, centerness = self.detector(pixels, self.tokens(text), text.token_mask)
        return alignment, deltas, centerness


class FixedGraphs:
    """A graph that has its prompt inside and reads no other."""

    def __init__(self, detector: GraphFunction) -> None:
        self.detector = detector

    def outputs(self, pixels: Tensor, text: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
        """See `Graphs`; `text` is the prompt that stands in the graph."""
        alignment, deltas, centerness = self.detector(pixels)
        return alignment, deltas, centerness


class ExportedDetection(nn.Module):
    """What `Predictor` asks of a task, answered by graphs."""

    def __init__(self, graphs: Graphs, model: ModelConfig, config: DetectionConfig, names: Vocabulary) -> None:
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
        return in_original(found, batch, self.vocabulary, self.model_config.regions.boxes)

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


class ExportedDetector(Predictor):
    """`detect` as `glipv2.load(…).detect`: any names, any number and size of images."""

    suffix: ClassVar[str]

    @classmethod
    def load(cls, weights: str | Path) -> Self:  # type: ignore[override]  # where graphs run is their runtime's choice
        """From a folder that `glipv2 export` wrote; UserError when it can't be read."""
        folder = Path(weights)
        return cls(exported_task(ExportedGraphs.in_folder(folder, cls.suffix), folder / RECORD_FILE), "cpu")


class OnnxDetector(ExportedDetector):
    """In onnxruntime.

    Examples:
        >>> model = OnnxDetector.load("exported")
        >>> found = model.detect("photo.jpg", ["red circle", "blue square"])
    """

    suffix = ONNX


class ProgramDetector(ExportedDetector):
    """In torch, on the programs that `glipv2 export … --torch` adds: they bring the model's code with them."""

    suffix = PROGRAM


def exported_task(graphs: Graphs, record_file: Path) -> Any:
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
