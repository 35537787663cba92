"""Captioning: a sentence about each image, written word by word, and where its phrases are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from glipv2.data.noun_phrases import noun_phrases, prompt_of_spans
from glipv2.data.prompts import collate_prompts
from glipv2.data.texts import CaptionCollator, no_prompts
from glipv2.errors import UserError
from glipv2.losses.glipv2 import LossConfig
from glipv2.metrics.captions import CaptionReportMetric
from glipv2.metrics.meteor import check_meteor
from glipv2.models.generation import GenerationConfig
from glipv2.models.heads.selection import ScoredBoxes, SelectionConfig
from glipv2.ranges import at_least, share
from glipv2.structures import ImageBatch, ImageTruth, TextQueryBatch
from glipv2.structures.boxes import scale_boxes
from glipv2.structures.grounded import GroundedText, ImageCaption
from glipv2.structures.truth import CaptionTruth
from glipv2.tasks.base import LossReport, Scores, Task, TaskConfig
from glipv2.tasks.grounding import Grounding
from glipv2.tasks.writing import Writer

if TYPE_CHECKING:
    from glipv2.data.datamodule import Collator
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.models import Core, ModelConfig, Parts
    from glipv2.models.heads.words import WordHead


@dataclass
class CaptioningConfig(TaskConfig):
    """`task=captioning`.

    captions_per_image: drawn for each image of a training batch, 0 = all; evaluation compares with all.
    label_smoothing: what of each target goes to all words alike. grounded: the captions' phrases train the
    grounding losses too, and phrases of what is written get boxes, chosen by `selection`. meteor: measured too,
    by a Java program (pip install "glipv2[meteor]").
    """

    name: ClassVar[str] = "captioning"
    needs: ClassVar[frozenset[str]] = frozenset({"captions"})
    monitor: ClassVar[str] = "captioning/cider_d"
    best: ClassVar[float] = 10.0
    headlines: ClassVar[tuple[str, ...]] = ("bleu_4", "rouge_l")

    captions_per_image: int = at_least(0, 1)
    label_smoothing: float = share(0.1)
    grounded: bool = False
    meteor: bool = False
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)

    def assemble(self, parts: Parts, loss: LossConfig) -> CaptioningTask:
        """A captioner from a model's parts; UserError for a model that can't write."""
        return CaptioningTask(self, parts, loss)

    def check(self, started: bool) -> None:
        """METEOR is there, if it is asked for."""
        if self.meteor:
            check_meteor()

    def skips(self) -> bool:
        """Nobody reads the last DyConv of an image that reads no caption."""
        return not self.grounded

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """Captions drawn for training, every one for evaluation."""
        if training and data.augment.crop:
            raise UserError("a cropped image may lack what its caption says; set data.augment.crop=0")
        if training and self.grounded and "phrases" not in data.holds("train", self.needs):
            raise UserError(
                f"task.grounded needs captions whose phrases have boxes, which {type(data).__name__} does not provide "
                f"(COCO captions have none, those of data.train.grounding have); set task.grounded=false"
            )
        return CaptionCollator(model.pixels, model.tokenizer.build(), training=training, most=self.captions_per_image)


class CaptioningTask(Task):
    """Core and word head, with the region head where it is grounded; measured by CIDEr-D."""

    config: CaptioningConfig
    core: Core
    words: WordHead

    def __init__(self, config: CaptioningConfig, parts: Parts, loss: LossConfig) -> None:
        super().__init__(config, parts)
        self.writer = self.uses(Writer.of(parts))
        self.grounding = self.uses(Grounding.of(parts, loss)) if config.grounded else None
        self.loss = loss
        self.metric: CaptionReportMetric | None = None
        self._tokenizer = parts.tokenizer
        self._search = self._checked(config.generation)

    def losses(self, batch: TextQueryBatch) -> LossReport:
        """Next words, and where it is grounded the grounding terms of the same captions."""
        if not len(batch.texts):
            raise UserError(f"no caption of the images {', '.join(truth.name for truth in batch.truth[:3])}…")
        levels = self.core.image(batch.images.pixels)
        captions, right = self.writer.loss(levels, batch.prompts.text, batch.image_rows, self.config.label_smoothing)
        terms, report = {"captions": self.loss.captions * captions}, {"words_right": right}
        if self.grounding is not None and batch.targets is not None:
            own = tuple(level[batch.image_rows] for level in levels)
            step = self.grounding.step(own, batch.prompts, batch.targets, batch.words)
            terms, report = {**terms, **step.terms}, {**report, **step.report}
        return LossReport(terms, report)

    def predictions(self, batch: TextQueryBatch) -> list[ImageCaption]:
        """A sentence an image; none depends on its neighbours, and none on the captions in the batch."""
        found: dict[int, ImageCaption] = {}
        for rows, images in batch.images.by_padded_size(self.model_config.pixels.size_divisor):
            truth = [batch.truth[row] for row in rows]
            found |= dict(zip(rows, self._written(images, truth), strict=True))
        return [found[row] for row in range(len(batch))]

    def _written(self, images: ImageBatch, truth: Sequence[ImageTruth]) -> list[ImageCaption]:
        levels = self.core.image(images.pixels)
        sentences = self.writer.sentences(levels, self._search)
        texts = [self._tokenizer.decode(sentence.token_ids) for sentence in sentences]
        grounded = self._grounded(texts, levels, images, truth)
        return [
            ImageCaption(own.image_size, text, sentence.probability)
            for own, text, sentence in zip(truth, grounded, sentences, strict=True)
        ]

    def _grounded(
        self, texts: Sequence[str], levels: tuple[Tensor, ...], images: ImageBatch, truth: Sequence[ImageTruth]
    ) -> list[GroundedText]:
        """The texts with boxes of their phrases in original pixels; without phrases where nothing is grounded."""
        none = ScoredBoxes(levels[0].new_zeros(0, 4), levels[0].new_zeros(0), images.image_sizes.new_zeros(0))
        if self.grounding is None:
            return [GroundedText(text, (), none.boxes, none.scores, none.labels) for text in texts]
        prompts = [prompt_of_spans(text, noun_phrases(text)) for text in texts]
        batch = collate_prompts(prompts, self._tokenizer)[0].to(levels[0].device)
        candidates = self.grounding.candidates(levels, [batch], images.image_sizes, self.config.selection)
        found = self.grounding.kept(candidates, self.config.selection)
        rows = zip(prompts, found, images.image_sizes.tolist(), truth, strict=True)
        return [
            GroundedText(
                prompt.text,
                tuple(phrase.spans for phrase in prompt.phrases),
                scale_boxes(boxes.boxes, (height, width), own.image_size),
                boxes.scores,
                boxes.labels,
            )
            for prompt, boxes, (height, width), own in rows
        ]

    def request(self, text: str) -> GenerationConfig:
        """Nothing is asked but a caption; UserError for a text."""
        if text.strip():
            raise UserError(f"captioning writes the text itself, but got text='{text}'; leave it out")
        return self.config.generation

    def batch_for(self, images: ImageBatch, truth: tuple[ImageTruth, ...], request: GenerationConfig) -> TextQueryBatch:
        """Images without texts; the request says how sentences are searched for."""
        self._search = self._checked(request)
        return TextQueryBatch(images, (), no_prompts(), images.image_sizes.new_zeros(0), truth)

    def _checked(self, generation: GenerationConfig) -> GenerationConfig:
        """UserError for a search that the model can't follow."""
        generation.check()
        most = self._tokenizer.max_tokens - self._tokenizer.special_tokens
        if generation.max_length > most:
            raise UserError(
                f"generation.max_length is {generation.max_length}, but the model reads at most {most} tokens"
            )
        return generation

    def reset_metric(self, samples: SampleDataset) -> None:
        """Fresh caption metrics, and the search of the config."""
        self.vocabulary = samples.vocabulary
        self._search = self.config.generation
        self.metric = CaptionReportMetric(self.config.meteor)

    def update_metric(self, predictions: Sequence[ImageCaption], batch: TextQueryBatch) -> None:
        """Counts one batch against all captions of its images."""
        assert self.metric is not None, "call reset_metric first"
        truth = [CaptionTruth(own.image_id, tuple(caption.text for caption in own.captions)) for own in batch.truth]
        self.metric.update([found.text for found in predictions], truth)

    def compute_metric(self) -> Scores:
        """BLEU, ROUGE-L, CIDEr-D, and the CIDEr-D of other images' captions."""
        assert self.metric is not None, "call reset_metric first"
        return self.metric.compute()
