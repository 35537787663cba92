"""Writes weights that nobody trained, to try on an architecture what no released file is needed for.

    python scripts/random_weights.py glip_t OUT.safetensors --side 160 --seed 0

Every preset of `model=` starts from random numbers here and needs no file; texts are read in the package's own word
pieces. --side: the shorter side of a picture, the longer one at most twice it. Biases and scales get noise too, so that
regions and words differ as they do in trained weights.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from glipv2.checkpoints import record_of, save_weights
from glipv2.config import model_preset
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig
from glipv2.structures import Vocabulary
from glipv2.tasks.detection import DetectionConfig, DetectionTask
from glipv2.tokenizer import TokenizerConfig

NAMES = ("person", "cup", "dog", "traffic light", "a red circle")
PIECES = 30522  # of BERT's embedding, whose architecture this keeps


def random_model(preset: str, side: int) -> ModelConfig:
    """A preset without any file, for pictures of a side."""
    model = model_preset(preset)
    rows = {} if model.tokenizer.source == "builtin" else {"vocab_size": PIECES}
    return replace(
        model,
        pixels=replace(model.pixels, short_side=side, max_long_side=2 * side),
        tokenizer=TokenizerConfig(),
        image=replace(model.image, pretrained=False, weights=None),
        text=replace(model.text, pretrained=False, weights=None, options={**rows, **model.text.options}),
    )


def random_task(preset: str, side: int, seed: int) -> DetectionTask:
    """Its detector; vectors, which start as zeros and ones, get noise of a tenth."""
    torch.manual_seed(seed)
    task = DetectionConfig().build(random_model(preset, side), LossConfig.grounding_only()).eval()
    with torch.no_grad():
        for parameter in task.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return task


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("output", type=Path)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    task = random_task(words.preset, words.side, words.seed)
    save_weights(words.output, task.state_dict(), record_of(task.model_config, task.config, Vocabulary(NAMES)))


if __name__ == "__main__":
    main()
