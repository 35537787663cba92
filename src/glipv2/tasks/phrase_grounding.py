"""Phrase grounding: for every phrase of a caption the boxes that it names, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from glipv2.data.noun_phrases import phrases_of
from glipv2.data.texts import CaptionCollator
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.metrics.phrases import PhraseRecall, PhraseScores
from glipv2.models.heads.selection import RankingConfig
from glipv2.ranges import at_least
from glipv2.structures import Caption, ImageBatch, ImageTruth, Prompt, TextQueryBatch
from glipv2.structures.grounded import GroundedCaptions, GroundedText
from glipv2.structures.truth import SentenceTruth
from glipv2.tasks.base import LossReport, Scores, Task, TaskConfig
from glipv2.tasks.grounding import Grounding
from glipv2.tasks.texts import by_image, fused_texts, grounded_text, levels_of_texts, one_text_each

if TYPE_CHECKING:
    from glipv2.data.datamodule import Collator
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.models import Core, ModelConfig, Parts
    from glipv2.models.heads.regions import RegionHead


@dataclass
class PhraseGroundingConfig(TaskConfig):
    """`task=phrase_grounding`.

    captions_per_image: drawn for each image of a training batch, 0 = all; evaluation takes all of them.
    """

    name: ClassVar[str] = "phrase_grounding"
    needs: ClassVar[frozenset[str]] = frozenset({"boxes", "phrases"})
    monitor: ClassVar[str] = "phrase_grounding/recall_1"
    headlines: ClassVar[tuple[str, ...]] = ("recall_5", "recall_10", "merged_recall_1")

    captions_per_image: int = at_least(0, 1)
    ranking: RankingConfig = field(default_factory=RankingConfig)

    def assemble(self, parts: Parts, loss: LossConfig) -> PhraseGroundingTask:
        """A grounder from a model's parts."""
        return PhraseGroundingTask(self, parts, loss)

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """Captions with the boxes of their phrases; all of an image's captions for evaluation."""
        return CaptionCollator(model.pixels, model.tokenizer.build(), training=training, most=self.captions_per_image)


class PhraseGroundingTask(Task):
    """Core and region head on captions, measured by the recall of their phrases."""

    config: PhraseGroundingConfig
    core: Core
    regions: RegionHead

    def __init__(self, config: PhraseGroundingConfig, parts: Parts, loss: LossConfig) -> None:
        super().__init__(config, parts)
        self.grounding = self.uses(Grounding.of(parts, loss))
        self.metric: PhraseRecall | None = None
        self._tokenizer = parts.tokenizer

    def losses(self, batch: TextQueryBatch) -> LossReport:
        """The grounding terms; any word of a caption may be masked, none is propagated to other images."""
        if not len(batch.texts):
            raise UserError(f"no caption of the images {', '.join(truth.name for truth in batch.truth[:3])}…")
        assert batch.targets is not None, "a training batch carries targets"
        levels = levels_of_texts(self.core, batch)
        step = self.grounding.step(levels, batch.prompts, batch.targets, batch.words)
        return LossReport(step.terms, step.report)

    def predictions(self, batch: TextQueryBatch) -> list[GroundedCaptions]:
        """Every caption of every image with ranked boxes of its phrases, in original pixels."""
        found: dict[int, GroundedText] = {}
        for some in fused_texts(self.core, batch, self.model_config.pixels.size_divisor):
            boxes = self.grounding.ranked(
                self.regions(some.features), some.prompts, some.image_sizes, self.config.ranking
            )
            found |= {row: grounded_text(batch, row, own) for row, own in zip(some.rows, boxes, strict=True)}
        captions = by_image(batch, [found[row] for row in range(len(batch.texts))])
        return [GroundedCaptions(truth.image_size, own) for truth, own in zip(batch.truth, captions, strict=True)]

    def request(self, text: str) -> Prompt:
        """A caption with its phrases [in brackets], or whose noun phrases are found; UserError when it has none."""
        prompt = phrases_of(text)
        if not prompt.phrases:
            raise UserError(f"found no phrase to look for in '{text}'; mark those you mean [in brackets]")
        return prompt

    def batch_for(
        self, images: ImageBatch, truth: tuple[ImageTruth, ...], request: Prompt | Sequence[Prompt]
    ) -> TextQueryBatch:
        """The same caption for every image, or each image's own."""
        return one_text_each(images, truth, request, self._tokenizer)

    def reset_metric(self, samples: SampleDataset) -> None:
        """Fresh recalls."""
        self.vocabulary = samples.vocabulary
        self.metric = PhraseRecall()

    def update_metric(self, predictions: Sequence[GroundedCaptions], batch: TextQueryBatch) -> None:
        """Counts the captions of one batch; of phrases known to be absent nothing is counted."""
        assert self.metric is not None, "call reset_metric first"
        for found, truth in zip(predictions, batch.truth, strict=True):
            pairs = list(zip(found.captions, truth.captions, strict=True))
            self.metric.update(
                [[text.of(place)[0] for place in grounded_places(caption)] for text, caption in pairs],
                [sentence_truth(truth, place) for place in range(len(pairs))],
            )

    def compute_metric(self) -> Scores:
        """Recall among the best 1, 5, 10 boxes, any-box and merged-box, over all phrases and by type."""
        assert self.metric is not None, "call reset_metric first"
        return RecallScores(self.metric.compute())


@dataclass(frozen=True)
class RecallScores:
    """recall_1 is any-box, as MDETR and GLIP report it; merged_recall_1 the other protocol."""

    scores: PhraseScores

    def flat(self, prefix: str) -> dict[str, float]:
        """prefix/recall_1, prefix/merged_recall_1, prefix/recall_1/people, …: types last, as classes everywhere."""
        numbers: dict[str, float] = {}
        for start, every, by_kind in (
            ("", self.scores.any_box, self.scores.any_box_by_kind),
            ("merged_", self.scores.merged_box, self.scores.merged_box_by_kind),
        ):
            numbers |= every.flat(f"{prefix}/{start}")
            for kind, recall in by_kind.items():
                numbers |= {f"{name}/{kind}": value for name, value in recall.flat(f"{prefix}/{start}").items()}
        return numbers


def grounded_places(caption: Caption) -> list[int]:
    """Which phrases of a caption are seen in the image."""
    return [place for place, phrase in enumerate(caption.phrases) if phrase.instances]


def sentence_truth(truth: ImageTruth, place: int) -> SentenceTruth:
    """What the metric asks of the caption at a place among an image's captions."""
    phrases = [phrase for phrase in truth.captions[place].phrases if phrase.instances]
    boxes = tuple(truth.boxes[list(phrase.instances)] for phrase in phrases)
    return SentenceTruth(truth.image_id, place, boxes, tuple(phrase.kinds for phrase in phrases))
