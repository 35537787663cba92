"""The core that every task shares: image encoder, text encoder, fusion tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glipv2.kernels import prompts_at_once, texts_at_once
from glipv2.models.cross_attention import ImageRows
from glipv2.models.fusion import FusionConfig
from glipv2.models.heads.answers import AnswerHeadConfig
from glipv2.models.heads.contrast import ContrastHeadConfig
from glipv2.models.heads.masks import MaskHeadConfig
from glipv2.models.heads.regions import RegionHeadConfig
from glipv2.models.image import ImageEncoderConfig
from glipv2.models.remembered import TextMemory
from glipv2.models.text import TextEncoderConfig, described
from glipv2.pixels import PixelConfig
from glipv2.structures import Features, FusedFeatures, ImageBatch, TextBatch
from glipv2.tokenizer import TokenizerConfig

READ_AHEAD = 64  # texts whose tokens are held before they are fused: the more there are, the more alike their lengths
BERT_PIECES = 30522  # rows of the text embeddings of BERT and of what shares its vocabulary


@dataclass
class ModelConfig:
    """One model: what a preset of the `model` group fills in.

    pixels and tokenizer say how images and texts become its inputs; regions and the following are the
    heads that tasks put on the core.
    """

    name: str = "custom"
    pixels: PixelConfig = field(default_factory=PixelConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    image: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    text: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    regions: RegionHeadConfig = field(default_factory=RegionHeadConfig)
    contrast: ContrastHeadConfig = field(default_factory=ContrastHeadConfig)
    answers: AnswerHeadConfig = field(default_factory=AnswerHeadConfig)
    masks: MaskHeadConfig = field(default_factory=MaskHeadConfig)

    def build_core(self) -> Core:
        """The core with random or loaded weights, as the parts' configs say."""
        return Core(self)

    def without_files(self) -> ModelConfig:
        """The architecture with random weights and the built-in word pieces: reads and fetches nothing.

        The text encoder keeps BERT's vocabulary where the tokenizer would have brought one.
        """
        rows = {} if self.tokenizer.source == "builtin" else {"vocab_size": BERT_PIECES}
        return replace(
            self,
            tokenizer=replace(self.tokenizer, source="builtin"),
            image=replace(self.image, pretrained=False, weights=None),
            text=replace(self.text, pretrained=False, weights=None, options={**rows, **self.text.options}),
        )


class Core(nn.Module):
    """core(images, text) -> FusedFeatures. Knows no task; usable without Lightning or Hydra.

    config: builds this architecture again, without the folder or hub that its parts came from.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.image = config.image.build()
        self.text = config.text.build(config.tokenizer.build().vocab_size)
        self.config = replace(config, text=described(config.text, self.text))
        self.image_width = config.image.width
        self.text_width = self.text.width
        self.fusion = config.fusion.build(self.image_width, self.text_width)
        self.remembered: TextMemory | None = None  # given by those who ask the same prompts of many pictures

    def forward(self, images: ImageBatch, text: TextBatch) -> FusedFeatures:
        """Features before and after fusion of B images with B texts."""
        return self.fuse(self.image(images.pixels), text)

    def fuse(self, levels: tuple[Tensor, ...], text: TextBatch, image_reads: bool = True) -> FusedFeatures:
        """Fuses texts with pyramid levels that were encoded before: one image, many prompts.

        image_reads: whether the image reads the text; without it what becomes of the image is the same for
        every text, and for every number of texts side by side.
        """
        tokens = self.read(text)
        return FusedFeatures(
            before=Features(levels, tokens, text.token_mask),
            after=self._fused(levels, tokens, text, image_reads),
        )

    def fuse_each(self, levels: tuple[Tensor, ...], texts: Sequence[TextBatch]) -> Iterator[Features]:
        """The features of B images after fusion with each of several texts [B, L_i], in order.

        Texts are read several of a length at once (`texts_at_once`) and, where the images are small, fused several at
        once (`prompts_at_once`); changes nothing but time.
        """
        count = levels[0].shape[0]
        positions = sum(level.shape[-2] * level.shape[-1] for level in levels) * count
        at_once = prompts_at_once(positions, levels[0].device)
        ahead = max(at_once, READ_AHEAD)
        for begin in range(0, len(texts), ahead):
            some = texts[begin : begin + ahead]
            tokens = self.read_each(some, count, max(at_once, texts_at_once(count)))
            for first in range(0, len(some), at_once):
                part = slice(first, first + at_once)
                yield from self._fused_together(levels, some[part], tokens[part])

    def read_each(self, texts: Sequence[TextBatch], count: int, at_once: int) -> list[Tensor]:
        """The encoded tokens of several texts of `count` rows; those of much the same length are read together."""
        order = sorted(range(len(texts)), key=lambda place: texts[place].token_ids.shape[1])
        read: dict[int, Tensor] = {}
        for first in range(0, len(order), at_once):
            places = order[first : first + at_once]
            together = self.read(TextBatch.stacked([texts[place] for place in places])).split(count)
            read |= dict(zip(places, together, strict=True))
        return [read[place][:, : text.token_ids.shape[1]] for place, text in enumerate(texts)]

    def _fused_together(
        self, levels: tuple[Tensor, ...], texts: Sequence[TextBatch], tokens: Sequence[Tensor]
    ) -> Iterator[Features]:
        """Of several texts what `fuse_each` gives, in one pass through the tower."""
        count = levels[0].shape[0]
        repeated = tuple(torch.cat([level] * len(texts)) for level in levels) if len(texts) > 1 else levels
        text = TextBatch.stacked(texts)
        longest = text.token_ids.shape[1]
        padded = torch.cat([F.pad(own, (0, 0, 0, longest - own.shape[1])) for own in tokens])
        fused = self._fused(repeated, padded, text)
        for number, one in enumerate(texts):
            yield fused.part(slice(number * count, (number + 1) * count), one.token_ids.shape[1])

    def _fused(self, levels: tuple[Tensor, ...], tokens: Tensor, text: TextBatch, image_reads: bool = True) -> Features:
        levels, tokens = self.fusion(levels, tokens, text, image_reads)
        return Features(levels, tokens, text.token_mask)

    def read(self, text: TextBatch) -> Tensor:
        """The encoded tokens [B, L, T] of a text, before fusion; from memory where the core has one."""
        return self.text(text) if self.remembered is None else self.remembered.states(self.text, text, self.text)

    def image_path(self, levels: tuple[Tensor, ...], tokens: int = 1) -> tuple[ImageRows, ...]:
        """What sentences read of B images that read none: the image side of the tower runs once for all of them.

        tokens: how many will read each image in all, about; changes nothing but time.
        """
        return self.fusion.image_path(levels, tokens)

    def text_path(self, text: TextBatch, path: Sequence[ImageRows]) -> Tensor:
        """Features [K·B, L, T] of unfinished sentences, K for each image; no token knows of later ones."""
        return self.fusion.text_path(text, self.text.causal(text), path)
