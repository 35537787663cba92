"""What every localizing task shares: the core with its region head, GLIPv2's three losses, and finding boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from glipv2.losses.contrast import ContrastRegions, ContrastWords, contrast_loss
from glipv2.losses.glipv2 import LossConfig
from glipv2.losses.grounding import GroundingTerms, grounding_loss
from glipv2.losses.words import mask_words, word_loss
from glipv2.models import Core, Parts
from glipv2.models.fusion import flatten_levels
from glipv2.models.heads.contrast import ContrastHead
from glipv2.models.heads.regions import RegionHead
from glipv2.models.heads.selection import (
    RankingConfig,
    ScoredBoxes,
    SelectionConfig,
    candidate_boxes,
    joined,
    ranked_boxes,
    select,
)
from glipv2.models.heads.words import WordHead
from glipv2.structures import (
    BoxConvention,
    DetectionBatch,
    Detections,
    Features,
    FusedFeatures,
    ImageBatch,
    PromptBatch,
    RegionOutputs,
    RegionTargets,
    TextBatch,
    Vocabulary,
    WordTargets,
)
from glipv2.structures.luck import CONTRAST, uniform
from glipv2.tokenizer import Tokenizer

Found = TypeVar("Found")


@dataclass(frozen=True)
class GroundingStep:
    """A training step's terms by name, numbers to show, and for further heads the text, features and regions."""

    terms: dict[str, Tensor]
    report: dict[str, Tensor]
    text: TextBatch
    features: FusedFeatures
    regions: RegionOutputs


@dataclass(frozen=True)
class Grounding:
    """Core, region head and the heads of the further losses; None where a loss has no weight."""

    core: Core
    regions: RegionHead
    contrast: ContrastHead | None
    words: WordHead | None
    tokenizer: Tokenizer
    loss: LossConfig

    @classmethod
    def of(cls, parts: Parts, loss: LossConfig) -> Grounding:
        """From a model's parts; builds only what the losses need."""
        return cls(
            core=parts.core,
            regions=parts.regions,
            contrast=parts.contrast if loss.contrast.weight else None,
            words=parts.words if loss.words.weight else None,
            tokenizer=parts.tokenizer,
            loss=loss,
        )

    def step(
        self, levels: tuple[Tensor, ...], prompt: PromptBatch, targets: RegionTargets, words: WordTargets | None,
        image_reads: bool = True,
    ) -> GroundingStep:  # fmt: skip
        """Alignment, box and centerness terms, contrast and masked words; one pyramid row a prompt."""
        text, hidden = self._masked(prompt.text, words, targets.seeds)
        features = self.core.fuse(levels, text, image_reads)
        regions = self.regions(features.after)
        convention = self.regions.config.boxes
        targets = replace(targets, boxes=convention.entering(targets.boxes, targets.pixel))
        found = grounding_loss(regions, targets, text.token_mask, convention, self.loss.grounding)
        terms = {"alignment": found.alignment, "box": found.box, "centerness": found.centerness}
        if self.contrast is not None and words is not None:
            terms["contrast"] = self.loss.contrast.weight * self._contrast(
                self.contrast, features.after if self.loss.contrast.fused else features.before, found, targets, words
            )
        if self.words is not None and hidden is not None:
            chosen = hidden >= 0
            logits = self.words(features.after.tokens[chosen], self.core.text.embeddings)
            terms["words"] = self.loss.words.weight * word_loss(logits, hidden[chosen])
        return GroundingStep(terms, {"matched_regions": found.matched}, text, features, regions)

    def candidates(
        self, levels: tuple[Tensor, ...], prompts: Sequence[PromptBatch], image_sizes: Tensor,
        selection: SelectionConfig,
    ) -> Iterator[list[ScoredBoxes]]:  # fmt: skip
        """Scored boxes before suppression for each prompt in order, a list entry an image, in the model-input frame."""
        fused = self.core.fuse_each(levels, [prompt.text for prompt in prompts])
        for features, prompt in zip(fused, prompts, strict=True):
            yield self.candidates_in(features, prompt, image_sizes, selection)

    def candidates_in(
        self, features: Features, prompt: PromptBatch, image_sizes: Tensor, selection: SelectionConfig
    ) -> list[ScoredBoxes]:
        """The same of one prompt, from features that were fused before."""
        outputs = self.regions(features)
        rows: Sequence[tuple[int, int]] = image_sizes.tolist()
        return [
            candidate_boxes(
                outputs,
                row,
                prompt.phrase_map[row],
                prompt.phrase_labels[row],
                (height, width),
                self.regions.config.boxes,
                selection,
            )
            for row, (height, width) in enumerate(rows)
        ]

    def ranked(
        self, outputs: RegionOutputs, prompt: PromptBatch, image_sizes: Tensor, ranking: RankingConfig
    ) -> list[ScoredBoxes]:
        """The best boxes of every phrase, one list entry a text, in the model-input frame."""
        return [
            ranked_boxes(outputs, row, phrases, (height, width), self.regions.config.boxes, ranking)
            for row, (phrases, (height, width)) in enumerate(zip(prompt.phrase_map, image_sizes.tolist(), strict=True))
        ]

    def kept(self, candidates: Iterable[Sequence[ScoredBoxes]], selection: SelectionConfig) -> list[ScoredBoxes]:
        """What stays of the candidates of several prompts, one list entry an image, best first."""
        return [select(joined(parts), self.regions.config.boxes, selection) for parts in zip(*candidates, strict=True)]

    def _masked(
        self, text: TextBatch, words: WordTargets | None, seeds: Tensor | None
    ) -> tuple[TextBatch, Tensor | None]:
        """The text with words hidden, and what stood there; as it is where no such loss is asked for."""
        if self.words is None or words is None:
            return text, None
        ids, hidden = mask_words(
            text.token_ids, words.maskable, self.tokenizer.mask_id, self.tokenizer.vocab_size, self.loss.words, seeds
        )
        return replace(text, token_ids=ids), hidden

    def _contrast(
        self, head: ContrastHead, seen: Features, found: GroundingTerms, targets: RegionTargets, words: WordTargets
    ) -> Tensor:
        """Inter-image contrast over at most `max_regions` matched regions an image, drawn at random."""
        images, regions = drawn(found.assignment >= 0, self.loss.contrast.max_regions, targets.seeds, CONTRAST)
        boxes = found.assignment[images, regions]
        features, tokens = head(flatten_levels(seen.levels)[images, regions], seen.tokens)
        return contrast_loss(
            ContrastRegions(features, images, words.box_classes[images, boxes], targets.positive_map[images, boxes]),
            ContrastWords(tokens, seen.token_mask, words.token_classes, words.images),
            self.loss.contrast.propagate,
        )


def drawn(allowed: Tensor, most: int, seeds: Tensor | None, purpose: int) -> tuple[Tensor, Tensor]:
    """Rows and columns where `allowed` (bool [B, N]) is True, at most `most` a row, drawn by `uniform`."""
    rows, columns = allowed.shape
    luck = uniform(seeds, columns, purpose, rows, allowed.device).masked_fill(~allowed, -1.0)
    best, found = luck.topk(min(most, allowed.shape[1]), dim=1)
    chosen, place = (best >= 0).nonzero(as_tuple=True)
    return chosen, found[chosen, place]


def image_by_image(
    batch: DetectionBatch, divisor: int, find: Callable[[ImageBatch, Sequence[PromptBatch]], Sequence[Found]]
) -> list[Found]:
    """What `find` says of each image, asked of sub-batches of equal padded size: no neighbour changes a result."""
    found: dict[int, Found] = {}
    for rows, images in batch.images.by_padded_size(divisor):
        results = find(images, [prompt.rows(rows) for prompt in batch.prompts])
        found |= dict(zip(rows, results, strict=True))
    return [found[row] for row in range(len(batch))]


def in_original(
    found: Sequence[ScoredBoxes], batch: DetectionBatch, vocabulary: Vocabulary, convention: BoxConvention
) -> list[Detections]:
    """Boxes of the model-input frame in each original image's pixels."""
    rows = zip(found, batch.images.image_sizes.tolist(), batch.truth, strict=True)
    moved = [
        (one, convention.leaving(one.boxes, size, truth.image_size), truth.image_size) for one, size, truth in rows
    ]
    return [Detections(boxes, one.scores, one.labels, size, vocabulary) for one, boxes, size in moved]
