"""What parity.py compares: recorded cases, models filled by parameter names, the outputs of their stages."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from parity_text import Case, name_spans, phrase_tokens
from torch import Tensor, nn

from glipv2.checkpoints import released_model
from glipv2.data.images import read_image
from glipv2.errors import UserError
from glipv2.inference import Predictor
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.models.fusion import FusionLayer, unflatten_levels
from glipv2.models.heads.selection import ScoredBoxes, candidate_boxes, select
from glipv2.models.released import translate
from glipv2.models.weights import load_into
from glipv2.structures import (
    Detections,
    ImageBatch,
    PromptBatch,
    RegionOutputs,
    RegionTargets,
    TextBatch,
)
from glipv2.structures.batches import pad_rows
from glipv2.structures.prompts import Span
from glipv2.tasks.detection import DetectionConfig, DetectionTask
from glipv2.tokenizer import TokenizerConfig

RECORDED = Path(__file__).parents[2] / "shared/parity"  # where outputs of the released code lie, if they do

EVERY_MAP, EVERY_TOKEN, EVERY_PIXEL = 97, 7, 9973  # of maps, tower tokens and padded pixels that a case keeps

CASE_INPUTS = ("input_ids", "caption", "names", "image_sizes", "padded_shape")
PHOTO_ARRAYS = ("image", "names", "caption", "input_ids", "resized_shape", "padded_shape", "input_sample")
LOSS_ARRAYS = ("spec", "token_loss", "box_loss", "centerness_loss", "num_positive")
HEAD_ARRAYS = ("alignment_logits", "box_deltas", "centerness")
BOX_ARRAYS = ("boxes", "scores", "labels")


def read_case(path: Path, required: Sequence[str]) -> Case:
    """The arrays of a .npz file; UserError when it can't be read or lacks a required one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            case = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a .npz file of plain arrays ({' '.join(str(error).split())[:100]})") from None
    absent = [name for name in required if name not in case]
    if absent:
        raise UserError(f"{path} lacks {', '.join(absent)}; it holds {', '.join(list(case)[:8]) or 'nothing'}, …")
    return case


def preset_of(keys: Path) -> str:
    """The architecture that a keys file belongs to; UserError when it is no such file or of another model."""
    try:
        shapes = json.loads(keys.read_text("utf-8"))
        tensors = {str(name): torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
    except FileNotFoundError:
        raise UserError(f"{keys} does not exist; check the path") from None
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:100]
        raise UserError(f"{keys} is not a JSON file of names and shapes ({reason})") from None
    return translate(tensors).preset


def keys_beside(case: Path) -> Path:
    """The keys of a case that were not given: those its name begins with, else the only ones, else GLIP-T's.

    UserError where there are none beside it nor among the recorded outputs.
    """
    for folder in (case.parent, RECORDED):
        found = sorted(folder.glob("*_keys.json"))
        named = [path for path in found if case.name.startswith(path.name.removesuffix("keys.json"))]
        usual = [path for path in found if path.name == "glip_t_keys.json"]
        if chosen := [*named, *(found if len(found) == 1 else usual)]:
            return chosen[0]
    raise UserError(f"no *_keys.json (names and shapes of a checkpoint) beside {case}; give one as --keys")


def weights_beside(keys: Path, *others: Path) -> Path:
    """The `weights.py` beside the keys, or else beside another file, or among the recorded outputs."""
    places = [path.parent / "weights.py" for path in (keys, *others)] + [RECORDED / "weights.py"]
    return next((path for path in places if path.is_file()), places[0])


def filled_task(keys: Path, weights_module: Path, dtype: torch.dtype) -> DetectionTask:
    """The released architecture that the keys belong to, on the weights that their names make."""
    preset_of(keys)
    maker = _module(weights_module)
    released = translate({name: torch.from_numpy(np.asarray(value)) for name, value in maker.state_dict(keys).items()})
    model = released_model(released.preset)
    task = DetectionConfig().build(replace(model, tokenizer=TokenizerConfig()), LossConfig.grounding_only())
    report = load_into(task, released.tensors, str(keys), model.name)
    if report.missing or report.wrong_shape or report.unused:
        raise UserError(f"{keys}: not all tensors of {released.preset}: {report}")
    return task.to(dtype).eval()


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("parity_weights", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file; give the one that fills the weights as --weights-module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inputs_of(case: Case, tokenizer: TokenizerConfig, dtype: torch.dtype) -> tuple[ImageBatch, PromptBatch]:
    """Images padded as in the case, and its caption for each of them; labels count from 1."""
    sizes = torch.from_numpy(case["image_sizes"])
    pixels = torch.zeros(len(sizes), *case["padded_shape"][1:].tolist(), dtype=dtype)
    for index, (height, width) in enumerate(sizes.tolist()):
        if f"image.{index}" not in case or case[f"image.{index}"].shape != (3, height, width):
            raise UserError(f"the case has no image.{index} of 3 x {height} x {width} values; it is cut or mixed up")
        if height > pixels.shape[2] or width > pixels.shape[3]:
            raise UserError(f"image.{index} of {height} x {width} is larger than padded_shape {list(pixels.shape)}")
        pixels[index, :, :height, :width] = torch.from_numpy(case[f"image.{index}"])
    ids = torch.from_numpy(case["input_ids"]).reshape(1, -1).expand(len(sizes), -1)
    phrases = phrase_tokens(name_spans(case), case, tokenizer)
    labels = torch.arange(1, len(phrases) + 1).expand(len(sizes), -1)
    text = TextBatch(ids, torch.ones_like(ids, dtype=torch.bool))
    return ImageBatch(pixels, sizes), PromptBatch(text, phrases.expand(len(sizes), -1, -1), labels)


def arrays_due(model: ModelConfig) -> list[str]:
    """The names that `computed` gives for a model."""
    levels = range(model.image.levels)
    modules = range(model.fusion.layers * (3 if model.fusion.cross_attention else 1))
    names = [f"backbone.{stage}" for stage in range(4)] + [f"fpn.{level}" for level in levels] + ["text_hidden"]
    for module in modules:
        names += [f"tower.{module}.text", *(f"tower.{module}.visual.{level}" for level in levels)]
    return [*names, "fused_text", *(f"{name}.{level}" for name in HEAD_ARRAYS for level in levels)]


def computed(task: DetectionTask, images: ImageBatch, prompts: PromptBatch) -> tuple[dict[str, Tensor], RegionOutputs]:
    """All arrays of a case's layout but the boxes, and the raw outputs they end in."""
    task.core.remembered = None  # a text that is remembered passes no stage
    with torch.no_grad(), recorded(task) as stages:
        outputs = task(images, prompts)
    return {**completed_tower(stages), **by_level(outputs)}, outputs


@contextmanager
def recorded(task: DetectionTask) -> Iterator[dict[str, Tensor]]:
    """Fills the mapping it gives with the output of every stage of the next forward pass; changes nothing."""
    stages: dict[str, Tensor] = {}
    core, handles = task.core, []
    levels: list[Tensor] = []

    def keep(module: nn.Module, name: str, kind: str) -> None:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            stages.update(_arrays(name, kind, output, levels))
            if name == "fpn":
                levels[:] = list(output)

        handles.append(module.register_forward_hook(hook))

    keep(core.image.backbone.get_submodule("layers_0"), "backbone.0", "map")
    for stage, norm in enumerate(core.image.output_norms):
        keep(norm, f"backbone.{stage + 1}", "map")
    keep(core.image.pyramid, "fpn", "levels")
    keep(core.text, "text_hidden", "tokens")
    for index, layer in enumerate(core.fusion.layers):
        assert isinstance(layer, FusionLayer)
        if layer.cross is not None and layer.text is not None:
            keep(layer.cross, f"tower.{3 * index}", "rows and tokens")
            keep(layer.text, f"tower.{3 * index + 1}", "tower tokens")
        keep(layer.image, f"tower.{index if layer.cross is None else 3 * index + 2}.visual", "levels")
    keep(core.fusion, "fused_text", "pair")
    try:
        yield stages
    finally:
        for handle in handles:
            handle.remove()


def _arrays(name: str, kind: str, output: Any, levels: Sequence[Tensor]) -> dict[str, Tensor]:
    """One module's output under the names, and thinned out like the arrays, of a case."""
    if kind == "map":  # channels come last here
        return {name: output.permute(0, 3, 1, 2).flatten()[::EVERY_MAP]}
    if kind == "levels":
        return {f"{name}.{level}": values.flatten()[::EVERY_MAP] for level, values in enumerate(output)}
    if kind == "tower tokens":
        return {f"{name}.text": output.flatten()[::EVERY_TOKEN]}
    if kind == "rows and tokens":
        visual = unflatten_levels(output[0], tuple(levels))
        return _arrays(f"{name}.visual", "levels", visual, ()) | _arrays(name, "tower tokens", output[1], ())
    return {name: output[1] if kind == "pair" else output}


def completed_tower(stages: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With what each tower module hands on unchanged: only one in three changes the text, two the image."""
    towers = [int(name.split(".")[1]) for name in stages if name.startswith("tower.")]
    state = {"text": stages["text_hidden"].flatten()[::EVERY_TOKEN]}
    found = dict(stages)
    for index in range(max(towers, default=-1) + 1):
        start = f"tower.{index}."
        state |= {name.removeprefix(start): value for name, value in stages.items() if name.startswith(start)}
        found |= {start + part: value for part, value in state.items()}
    return found


def by_level(outputs: RegionOutputs) -> dict[str, Tensor]:
    """Raw outputs, or gradients in their places, level by level: logits [B, HW, L], deltas [B, 4, HW], centerness."""
    parts = zip(
        *(values.split(list(outputs.level_sizes), 1) for values in
          (outputs.alignment_logits, outputs.box_deltas, outputs.centerness)),
        strict=True,
    )  # fmt: skip
    found: dict[str, Tensor] = {}
    for level, (logits, deltas, centerness) in enumerate(parts):
        found[f"alignment_logits.{level}"] = logits
        found[f"box_deltas.{level}"] = deltas.transpose(1, 2)
        found[f"centerness.{level}"] = centerness
    return found


def boxes_of(
    task: DetectionTask, outputs: RegionOutputs, images: ImageBatch, prompts: PromptBatch
) -> list[ScoredBoxes]:
    """Each image's boxes after post-processing, in the resized image."""
    config = task.config.selection
    found = []
    for row, (height, width) in enumerate(images.image_sizes.tolist()):
        candidates = candidate_boxes(
            outputs,
            row,
            prompts.phrase_map[row],
            prompts.phrase_labels[row],
            (height, width),
            task.regions.config.boxes,
            config,
        )
        found.append(select(candidates, task.regions.config.boxes, config))
    return found


def targets_of(loss: Case, case: Case, tokenizer: TokenizerConfig, dtype: torch.dtype) -> RegionTargets:
    """The boxes of a loss case and the tokens of their names."""
    try:
        spec = json.loads(str(loss["spec"]))
        names, images = list(spec["spans"]), [(image["boxes"], image["labels"]) for image in spec["images"]]
        spans = [_pairs(value) for value in spec["spans"].values()]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"the spec of the loss case can't be read ({error!r})") from None
    if len(images) != len(case["image_sizes"]):
        raise UserError(
            f"the loss case has targets of {len(images)} images, the case {len(case['image_sizes'])} images"
        )
    phrases = phrase_tokens(spans, case, tokenizer)
    boxes, mask = pad_rows([torch.tensor(boxes, dtype=dtype).reshape(-1, 4) for boxes, _ in images])
    positive = [phrases[[names.index(str(label)) for label in labels]] for _, labels in images]
    return RegionTargets(boxes, mask, pad_rows(positive)[0])


def _pairs(value: Sequence[Any]) -> list[Span]:
    """One [begin, end], or a list of them."""
    return [(int(begin), int(end)) for begin, end in (value if isinstance(value[0], list) else [value])]


def photo_arrays(
    task: DetectionTask, path: Path, names: Sequence[str], tokenizer: TokenizerConfig
) -> tuple[dict[str, NDArray[Any]], Detections]:
    """What the model gets of a photo file when a user asks for names, and what the user gets.

    Its far corners name last pixels again where the weights do, as the released code leaves them.
    """
    dtype = task.regions.words.weight.dtype
    task.model_config = replace(task.model_config, tokenizer=tokenizer)
    seen: dict[str, NDArray[Any]] = {}

    def see_text(_: nn.Module, arguments: tuple[TextBatch]) -> None:
        seen["input_ids"] = arguments[0].token_ids[0][arguments[0].token_mask[0]].numpy()

    def see_pixels(_: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        size = task.model_config.pixels.target_size(read_image(path).size[::-1])
        seen["resized_shape"] = np.array([3, *size])
        seen["padded_shape"] = np.array(arguments[0].shape)
        seen["input_sample"] = arguments[0].flatten()[::EVERY_PIXEL].numpy()
        return (arguments[0].to(dtype),)  # pictures are float32, the compared model may be float64

    hooks = [
        task.core.text.register_forward_pre_hook(see_text),
        task.core.image.register_forward_pre_hook(see_pixels),
    ]
    try:
        found = Predictor(task, "cpu").detect(path, list(names))
    finally:
        for hook in hooks:
            hook.remove()
    last = float(task.regions.config.boxes.last_pixels)
    found = replace(found, boxes=found.boxes - found.boxes.new_tensor([0.0, 0.0, last, last]))
    return {name: seen[name] for name in ("input_ids", "resized_shape", "padded_shape", "input_sample")}, found
