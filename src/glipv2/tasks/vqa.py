"""Visual question answering: one of the known answers, and where the question's phrases are seen."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from glipv2.data.answers import AnswerList
from glipv2.data.noun_phrases import phrases_of
from glipv2.data.texts import QuestionCollator
from glipv2.errors import UserError
from glipv2.losses.answers import answer_loss
from glipv2.losses.glipv2 import LossConfig
from glipv2.metrics.answer_baselines import AnswerBaselines, BaselineScores
from glipv2.metrics.answers import AnswerScores, VqaAccuracy
from glipv2.models.heads.selection import RankingConfig
from glipv2.ranges import at_least
from glipv2.structures import ImageBatch, ImageTruth, Prompt, TextQueryBatch
from glipv2.structures.grounded import Answer, Answers, GroundedText
from glipv2.structures.truth import AnswerTruth
from glipv2.tasks.base import LossReport, Task, TaskConfig
from glipv2.tasks.grounding import Grounding
from glipv2.tasks.texts import by_image, fused_texts, grounded_text, levels_of_texts, one_text_each

if TYPE_CHECKING:
    from glipv2.data.datamodule import Collator
    from glipv2.data.dataset import DataConfig, SampleDataset
    from glipv2.models import Core, ModelConfig, Parts
    from glipv2.models.heads.answers import AnswerHead
    from glipv2.models.heads.regions import RegionHead

log = logging.getLogger(__name__)

MOST_QUESTIONS = 1 << 12  # of an image: where questions have no number of their own, one is made of the image's


@dataclass
class VqaConfig(TaskConfig):
    """`task=vqa`.

    questions_per_image: drawn for each image of a training batch, 0 = all; evaluation takes all of them.
    image_reads: whether the image reads the question (deep fusion both ways, as GLIPv2 describes its core).
    Without it an image passes the tower once for all of its questions, which stand side by side in training:
    many questions an image cost little more than one. What a question is answered doesn't depend on others, but
    for which regions are counted where more than 512 seem to show something.
    shown: how many of the likeliest answers a prediction holds.
    """

    name: ClassVar[str] = "vqa"
    needs: ClassVar[frozenset[str]] = frozenset({"questions"})
    monitor: ClassVar[str] = "vqa/accuracy"
    headlines: ClassVar[tuple[str, ...]] = ("unknown_answers",)

    questions_per_image: int = at_least(0, 3)
    image_reads: bool = True
    shown: int = at_least(0, 5)
    ranking: RankingConfig = field(default_factory=RankingConfig)

    def assemble(self, parts: Parts, loss: LossConfig) -> VqaTask:
        """An answerer from a model's parts; UserError when there is no answer to choose from."""
        return VqaTask(self, parts, loss)

    def skips(self) -> bool:
        """An image that reads no question has no use for the way from words to the image."""
        return not self.image_reads

    def collator(self, model: ModelConfig, data: DataConfig, samples: SampleDataset, training: bool) -> Collator:
        """Questions with their answers and the boxes of their phrases; all of an image's for evaluation."""
        if training and data.augment.crop:
            raise UserError("a cropped image may answer its questions otherwise; set data.augment.crop=0")
        return QuestionCollator(
            model.pixels, model.tokenizer.build(), samples.answers, training=training, most=self.questions_per_image,
            together=not self.image_reads,
        )  # fmt: skip


class VqaTask(Task):
    """Core, answer head and region head; answers and boxes are read from the same fused features."""

    config: VqaConfig
    core: Core
    regions: RegionHead
    chooser: AnswerHead

    def __init__(self, config: VqaConfig, parts: Parts, loss: LossConfig) -> None:
        super().__init__(config, parts)
        self.grounding = self.uses(Grounding.of(parts, loss))
        if not config.image_reads and not self.core.text.keeps_apart():
            raise UserError(
                f"task.image_reads=false puts questions side by side, which {parts.core.config.text.architecture} "
                f"does not read as each alone; leave it true, or take another model.text.architecture (bert does)"
            )
        self.chooser = parts.chooser
        self.loss = loss
        self.metric: VqaAccuracy | None = None
        self.baselines: AnswerBaselines | None = None
        self._known = AnswerList(parts.answer_names)
        self._tokenizer = parts.tokenizer

    def losses(self, batch: TextQueryBatch) -> LossReport:
        """The answers' term, and the grounding terms of questions whose phrases have boxes."""
        if not len(batch.texts):
            raise UserError(f"no question about the images {', '.join(truth.name for truth in batch.truth[:3])}…")
        assert batch.targets is not None and batch.answers is not None, "a training batch carries targets"
        levels = levels_of_texts(self.core, batch)
        step = self.grounding.step(levels, batch.prompts, batch.targets, batch.words, self.config.image_reads)
        said = self.chooser(step.features.after, step.text, step.regions)
        logits = said[step.text.segment_map().any(dim=-1)]
        answers = self.loss.answers * answer_loss(logits, batch.answers, self.chooser.config.exclusive)
        right = batch.answers.gather(1, logits.argmax(dim=1, keepdim=True)).mean()
        return LossReport({"answers": answers, **step.terms}, {"answers_right": right, **step.report})

    def predictions(self, batch: TextQueryBatch) -> list[Answers]:
        """Answers to all questions about every image, with boxes of their phrases in original pixels."""
        found: dict[int, Answer] = {}
        for some in fused_texts(self.core, batch, self.model_config.pixels.size_divisor, self.config.image_reads):
            outputs = self.regions(some.features)
            logits = self.chooser(some.features, some.prompts.text, outputs)[:, 0]
            probabilities = self.chooser.probabilities(logits)
            boxes = self.grounding.ranked(outputs, some.prompts, some.image_sizes, self.config.ranking)
            for row, own, likely in zip(some.rows, boxes, probabilities, strict=True):
                found[row] = self._answer(grounded_text(batch, row, own), likely)
        answers = by_image(batch, [found[row] for row in range(len(batch.texts))])
        return [
            Answers(truth.image_size, numbered(own, truth)) for truth, own in zip(batch.truth, answers, strict=True)
        ]

    def _answer(self, question: GroundedText, probabilities: Tensor) -> Answer:
        """The likeliest answers from probabilities [A]."""
        best, places = probabilities.topk(min(self.config.shown, len(probabilities)))
        names = tuple(self.answers[place] for place in places.tolist())
        return Answer(question, names, tuple(best.tolist()))

    def request(self, text: str) -> Prompt:
        """A question with its phrases [in brackets], or whose noun phrases are found; it may have none."""
        return phrases_of(text)

    def batch_for(
        self, images: ImageBatch, truth: tuple[ImageTruth, ...], request: Prompt | Sequence[Prompt]
    ) -> TextQueryBatch:
        """The same question about every image, or each image's own."""
        return one_text_each(images, truth, request, self._tokenizer)

    def reset_metric(self, samples: SampleDataset) -> None:
        """A fresh accuracy and what it is compared with."""
        self.vocabulary = samples.vocabulary
        self.metric = VqaAccuracy()
        self.baselines = AnswerBaselines()

    def update_metric(self, predictions: Sequence[Answers], batch: TextQueryBatch) -> None:
        """Counts the questions of one batch; those without any answer, as in a test set, are left out."""
        assert self.metric is not None and self.baselines is not None, "call reset_metric first"
        for found, truth in zip(predictions, batch.truth, strict=True):
            pairs = list(zip(found.answers, answer_truths(truth), strict=True))
            said, asked = (
                [answer.text for answer, own in pairs if own.answers],
                [own for _, own in pairs if own.answers],
            )
            self.metric.update(said, asked)
            self.baselines.update(asked, [self._known.knows_one_of(own.answers) for own in asked])

    def compute_metric(self) -> VqaScores:
        """Accuracy over all questions and by kind, and baselines."""
        assert self.metric is not None and self.baselines is not None, "call reset_metric first"
        scores = VqaScores(self.metric.compute(), self.baselines.compute())
        if scores.baselines.unknown:
            log.warning(
                "%d of %d questions have none of the %d answers that the model knows; they count as wrong",
                scores.baselines.unknown,
                scores.baselines.questions,
                len(self._known),
            )
        return scores


@dataclass(frozen=True)
class VqaScores:
    """Accuracy, and that of answers given without looking."""

    accuracy: AnswerScores
    baselines: BaselineScores

    def flat(self, prefix: str) -> dict[str, float]:
        """prefix/accuracy, prefix/accuracy/question/count, prefix/accuracy_majority, …"""
        return {**self.accuracy.flat(prefix), **self.baselines.flat(prefix)}


def numbered(answers: Sequence[Answer], truth: ImageTruth) -> tuple[Answer, ...]:
    """Answers with the data set's numbers of their questions; as they are where a user asked."""
    if not truth.questions:
        return tuple(answers)
    pairs = zip(answers, truth.questions, strict=True)
    return tuple(replace(answer, question_id=question.question_id) for answer, question in pairs)


def answer_truths(truth: ImageTruth) -> list[AnswerTruth]:
    """What people answered to each question about an image."""
    return [
        AnswerTruth(
            truth.image_id * MOST_QUESTIONS + place if own.question_id is None else own.question_id,
            own.answers,
            answer_type=own.answer_kind,
            question_type=own.kind,
        )
        for place, own in enumerate(truth.questions)
    ]
