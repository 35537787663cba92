"""Sentences about images: how a next word is learned and how sentences are written. The image reads none of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glipv2.errors import UserError
from glipv2.losses.words import word_loss
from glipv2.models import Core, Parts
from glipv2.models.cross_attention import ImageRows
from glipv2.models.generation import Ends, GenerationConfig, Sentence, search
from glipv2.models.heads.words import WordHead
from glipv2.structures import TextBatch
from glipv2.tokenizer import Tokenizer


@dataclass(frozen=True)
class Writer:
    """Core, word head and tokenizer, used from left to right."""

    core: Core
    words: WordHead
    tokenizer: Tokenizer

    @classmethod
    def of(cls, parts: Parts) -> Writer:
        """From a model's parts; UserError for a model that can't read images or words one after the other."""
        if not parts.core.config.fusion.cross_attention:
            raise UserError(
                f"model={parts.core.config.name} can't write captions: without cross-attention its words never see the "
                f"image; choose a model with model.fusion.cross_attention=true"
            )
        if not parts.core.text.keeps_order():
            raise UserError(
                f"the text encoder '{parts.core.config.text.architecture}' can't write captions: its words see those "
                f"that come after them; choose another, as bert or modernbert"
            )
        if parts.tokenizer.begin_id == parts.tokenizer.end_id:
            raise UserError(
                "this tokenizer puts no marks around a text, so no caption could begin or end; choose another"
            )
        return cls(parts.core, parts.words, parts.tokenizer)

    def logits(self, path: Sequence[ImageRows], text: TextBatch, chosen: Tensor) -> Tensor:
        """Logits [K, V] of the words after the `chosen` tokens (bool [Q, L] with K True) of Q captions."""
        features = self.core.text_path(text, path)[chosen]
        with torch.autocast(features.device.type, enabled=False):  # beams that differ in the third digit stay apart
            embeddings = self.core.text.embeddings
            return self.words(features.to(embeddings.dtype), embeddings)  # type: ignore[no-any-return]

    def loss(
        self, levels: tuple[Tensor, ...], text: TextBatch, image_rows: Tensor, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of every next word and of the end, and the share of them guessed right.

        levels of B images; Q captions, image_rows int64 [Q] says of which image each is. Words that the
        tokenizer does not know are not learned.
        """
        path = self.core.image_path(levels, text.token_ids.numel() // levels[0].shape[0])
        if image_rows.tolist() != list(range(levels[0].shape[0])):
            path = tuple(rows.of(image_rows) for rows in path)
        following = text.token_ids.roll(-1, dims=1)
        known = text.token_mask.roll(-1, dims=1) & (following != self.tokenizer.unknown_id)
        known[:, -1] = False
        logits, targets = self.logits(path, text, known), following[known]
        return word_loss(logits, targets, smoothing), (logits.argmax(dim=-1) == targets).float().mean()

    def sentences(self, levels: tuple[Tensor, ...], config: GenerationConfig) -> list[Sentence]:
        """A sentence for each of B images. Their side of the tower runs once, whatever the beams."""
        steps = config.max_length + 2
        path = self.core.image_path(
            levels, config.beams * steps**2 // 2
        )  # every step reads its sentences from the start

        def next_word(ids: Tensor) -> Tensor:
            text = TextBatch(ids.flatten(0, 1), torch.ones_like(ids, dtype=torch.bool).flatten(0, 1))
            latest = torch.zeros_like(text.token_mask)
            latest[:, -1] = True
            return self.logits(path, text, latest).view(*ids.shape[:2], -1)

        ends = Ends(self.tokenizer.begin_id, self.tokenizer.end_id, self.tokenizer.special_ids)
        return search(next_word, levels[0].shape[0], ends, config, levels[0].device)
