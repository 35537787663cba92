"""A small model with the released conventions and random weights, and what parity.py compares of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from parity_case import BOX_ARRAYS, boxes_of, computed, inputs_of, photo_arrays
from parity_text import CaptionTokenizer, Case
from PIL import Image

from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.tasks.detection import DetectionConfig, DetectionTask

NAMES = ("person", "dining table", "wine glass")
CAPTION = "person. dining table. wine glass"
TOKEN_IDS = (101, 2711, 1012, 7759, 2795, 1012, 4511, 3221, 102)
SIZES = ((50, 75), (42, 90))  # height, width; padded to 64 x 96


def small_task(model: ModelConfig, seed: int = 0) -> DetectionTask:
    """A detector in float64 whose every parameter matters to its outputs; BERT's ids have their rows."""
    text = replace(model.text, options={**model.text.options, "vocab_size": 30522})
    task = DetectionConfig().build(replace(model, text=text), LossConfig.grounding_only()).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in task.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        fan_in = math.prod(parameter.shape[1:])
        if parameter.ndim > 1:
            noise *= (6 if name == "regions.words.weight" else 1) / math.sqrt(fan_in)
        elif ("norm" in name and name.endswith("weight")) or name == "regions.level_scales":
            noise = 1 + noise / 10
        elif "_scale" in name:
            noise = 0.25 + noise / 20  # of the cross-attention, and the logarithm that divides the logits
        elif name == "regions.prior_bias":
            noise = torch.tensor(-2.0)
        else:
            noise *= 0.5 if name == "regions.word_bias" else 0.05
        parameter.data.copy_(noise)
    return task


def recorded_case(task: DetectionTask) -> Case:
    """A case in the layout of the released ones, made by this task: two images, three names."""
    noise = np.random.default_rng(0)
    case: Case = {
        "input_ids": np.array(TOKEN_IDS),
        "caption": np.array(CAPTION),
        "names": np.array(NAMES),
        "image_sizes": np.array(SIZES),
        "padded_shape": np.array([2, 3, 64, 96]),
        **{f"image.{i}": noise.standard_normal((3, *size)).astype(np.float32) for i, size in enumerate(SIZES)},
    }
    images, prompts = inputs_of(case, tokenizer(), torch.float64)
    arrays, outputs = computed(task, images, prompts)
    case |= {name: values.numpy().astype(np.float32) for name, values in arrays.items()}
    for index, found in enumerate(boxes_of(task, outputs, images, prompts)):
        case |= stored(found.boxes, found.scores, found.labels, f".{index}")
    return case


def recorded_photo(task: DetectionTask, folder: Path) -> Case:
    """A photo case made by this task, and its picture in the folder."""
    pixels = np.random.default_rng(1).integers(0, 256, (60, 83, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    arrays, found = photo_arrays(task, folder / "noise.png", NAMES, tokenizer())
    return {
        **arrays,
        "image": np.array("noise.png"),
        "names": np.array(NAMES),
        "caption": np.array(CAPTION),
        **stored(found.boxes, found.scores, found.labels + 1, ""),
    }


def stored(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, suffix: str) -> Case:
    """Boxes as a case keeps them."""
    values = (boxes.numpy().astype(np.float32), scores.numpy().astype(np.float32), labels.numpy())
    return {name + suffix: value for name, value in zip(BOX_ARRAYS, values, strict=True)}


def tokenizer(caption: str = CAPTION, token_ids: Sequence[int] = TOKEN_IDS) -> CaptionTokenizer:
    """The stand-in tokenizer of these cases."""
    return CaptionTokenizer(caption=caption, token_ids=list(token_ids))
