"""The models that are compared, with random weights and without any file from elsewhere."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

from glipv2.data.coco_names import COCO
from glipv2.data.prompts import PromptComposer, PromptConfig, collate_prompts
from glipv2.hushed import hushed
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import ModelConfig, Parts
from glipv2.models.heads.selection import ScoredBoxes, SelectionConfig
from glipv2.models.remembered import TextMemory
from glipv2.pixels import PixelConfig
from glipv2.screening import likely_names
from glipv2.structures import ImageBatch, PromptBatch, Vocabulary
from glipv2.tasks.grounding import Grounding
from glipv2.tokenizer import Tokenizer, TokenizerConfig

CONF = Path(__file__).parents[2] / "conf" / "model"
PIECES = 30522  # rows of BERT's embedding
SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}  # as in BERT's
FIRST_WORD = 2000
LONGEST_PIECE = 7  # letters: COCO's 80 names are then 194 tokens, as many as BERT's own pieces make of them
CHUNK = 40  # names a prompt, as released
FEW = ("person", "traffic light", "stop sign")  # 9 tokens
LOOKS = (
    "small", "large", "old", "new", "red", "blue", "green", "yellow", "black", "white", "wooden", "metal", "plastic",
    "broken", "wet",
)  # fmt: skip


def names(count: int) -> tuple[str, ...]:
    """COCO's names, then those with an adjective; three are the short prompt of every comparison."""
    if count == len(FEW):
        return FEW
    every = [*COCO.names, *(f"{look} {name}" for look in LOOKS for name in COCO.names)]
    assert count <= len(every), f"there are {len(every)} names"
    return tuple(every[:count])


@lru_cache(maxsize=1)
def vocabulary_file() -> str:
    """A list of word pieces for all `names`, special tokens where BERT has them."""
    words = sorted({word for name in names(80 * (1 + len(LOOKS))) for word in name.split()})
    pieces = {word for word in words if len(word) <= LONGEST_PIECE}
    for word in words:
        if word not in pieces:
            pieces |= {word[:LONGEST_PIECE], f"##{word[LONGEST_PIECE:]}"}
    rows = [SPECIAL.get(index, f"[unused{index}]") for index in range(PIECES)]
    rows[FIRST_WORD : FIRST_WORD + len(pieces)] = sorted(pieces)
    path = Path(tempfile.mkdtemp(prefix="glipv2-bench-")) / "vocab.txt"
    path.write_text("\n".join(rows) + "\n", "utf-8")
    return str(path)


def model_config(preset: str) -> ModelConfig:
    """A preset that starts from random weights; read without Hydra, which a benchmark does not need."""
    values = yaml.safe_load((CONF / f"{preset}.yaml").read_text("utf-8"))
    model: ModelConfig = _filled(ModelConfig, values)
    own = model.tokenizer.source == "builtin"
    return replace(
        model,
        tokenizer=model.tokenizer if own else replace(model.tokenizer, source=vocabulary_file()),
        image=replace(model.image, pretrained=False),
        text=replace(
            model.text, pretrained=False, options={**({} if own else {"vocab_size": PIECES}), **model.text.options}
        ),
    )


def _filled(schema: Any, values: Mapping[str, Any]) -> Any:
    """A config dataclass with the values of a YAML file."""
    types = typing.get_type_hints(schema)
    return schema(
        **{
            key: _filled(types[key], value) if dataclasses.is_dataclass(types[key]) else value
            for key, value in values.items()
        }
    )


def prompt_batches(
    tokenizer: Tokenizer, asked: Sequence[str], device: torch.device, most: int = 0, count: int = 1, step: int = 1
) -> list[PromptBatch]:
    """Prompts that hold all names, `most` at most in each (0 = as many as fit), for `count` images.

    step: they are padded to a multiple of it; predictions pad nothing.
    """
    composer = PromptComposer(Vocabulary(tuple(asked)), tokenizer, PromptConfig(eval_names=most))
    return [collate_prompts([one] * count, tokenizer, step)[0].to(device) for one in composer.all_names()]


def bert_tokenizer() -> Tokenizer:
    """Our word pieces under BERT's numbers."""
    return TokenizerConfig(vocabulary_file()).build()


class Detector(nn.Module):
    """Core and region head from pixels to boxes, as the detection task puts them together."""

    def __init__(self, preset: str, device: torch.device) -> None:
        super().__init__()
        with hushed("glipv2", logging.WARNING), device:
            parts = Parts(model_config(preset))
            self.grounding = Grounding.of(parts, LossConfig.grounding_only())
        self.tokenizer = parts.tokenizer
        self.core, self.regions = self.grounding.core, self.grounding.regions
        self.to(device)
        self.memory = TextMemory()
        # every region is a candidate, so that choosing and suppression have as much to do as they ever can
        self.selection = SelectionConfig(min_probability=0.0)

    def prompts(self, asked: Sequence[str], most: int = 0, count: int = 1, step: int = 1) -> list[PromptBatch]:
        """See `prompt_batches`."""
        return prompt_batches(self.tokenizer, asked, self.regions.prior_bias.device, most, count, step)

    def forward(self, images: ImageBatch, prompts: Sequence[PromptBatch]) -> list[ScoredBoxes]:
        """The best boxes of each image over all prompts; the image is encoded once."""
        levels = self.core.image(images.pixels)
        found = self.grounding.candidates(levels, prompts, images.image_sizes, self.selection)
        return self.grounding.kept(found, self.selection)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Texts are read once for all pictures, as `with_vocabulary` does."""
        self.core.remembered = self.memory
        try:
            yield
        finally:
            self.core.remembered = None

    def remembered(self, images: ImageBatch, prompts: Sequence[PromptBatch]) -> list[ScoredBoxes]:
        """As `forward`, texts from memory."""
        with self.remembering():
            return self(images, prompts)

    def screened(
        self, images: ImageBatch, asked: Sequence[str], every: Sequence[PromptBatch], keep: int
    ) -> list[ScoredBoxes]:
        """The same for the `keep` names that are likeliest in one image; every: prompts of all of them."""
        parts = Parts(self.core.config, given={"core": self.core, "regions": self.regions})
        with self.remembering():
            (labels,) = likely_names(parts, images, every, keep, PixelConfig().size_divisor)
        return self(images, self.prompts([asked[label] for label in labels]))


class GroundingDino(nn.Module):
    """GroundingDINO-T of transformers, from its own default configuration."""

    def __init__(self, device: torch.device, queries: int = 900) -> None:
        super().__init__()

        config = GroundingDinoConfig(disable_custom_kernels=True, num_queries=queries)
        with device:
            self.model = GroundingDinoForObjectDetection(config)
        self.model.to(device)

    def forward(self, images: ImageBatch, prompt: PromptBatch) -> tuple[Tensor, Tensor]:
        """Scores and boxes of the pictures without our padding: its own processor adds none."""
        height, width = images.image_sizes.amax(dim=0).tolist()
        ids = prompt.text.token_ids[:, : int(prompt.text.token_mask.sum(dim=1).amax())]
        found = self.model(pixel_values=images.pixels[..., :height, :width], input_ids=ids)
        return found.logits.sigmoid().amax(dim=-1), found.pred_boxes


def images(size: tuple[int, int], device: torch.device, count: int = 1, divisor: int = 32) -> ImageBatch:
    """Random pictures of `size` (height, width), padded as the model pads them."""
    generator = torch.Generator().manual_seed(0)
    height, width = (-(-side // divisor) * divisor for side in size)
    pixels = torch.zeros(count, 3, height, width)
    pixels[..., : size[0], : size[1]] = torch.randn(count, 3, *size, generator=generator)
    return ImageBatch(pixels.to(device), torch.tensor([size] * count))
