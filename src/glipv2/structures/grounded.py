"""What a user sees of texts about an image: where their phrases are, what is answered, and what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from glipv2.errors import undefined
from glipv2.structures.batches import TensorStruct
from glipv2.structures.boxes import xyxy_to_xywh
from glipv2.structures.drawing import draw_boxes, draw_lines
from glipv2.structures.interchange import supervision_detections
from glipv2.structures.prompts import Span

if TYPE_CHECKING:
    from PIL.Image import Image

    from glipv2.structures.drawing import Drawable


@dataclass(frozen=True)
class GroundedText(TensorStruct):
    """A text and the boxes of its phrases in one image, best first.

    spans: the characters of each phrase; boxes float [K, 4] xyxy in pixels of the original image; scores
    float [K] in [0, 1]; labels int64 [K]: which phrase each box belongs to. A phrase may have no box.
    """

    text: str
    spans: tuple[tuple[Span, ...], ...]
    boxes: Tensor
    scores: Tensor
    labels: Tensor

    @property
    def phrases(self) -> tuple[str, ...]:
        """The words of each phrase."""
        return tuple(" ".join(self.text[begin:end] for begin, end in spans) for spans in self.spans)

    def of(self, phrase: int) -> tuple[Tensor, Tensor]:
        """Boxes [k, 4] and scores [k] of the phrase at a place, best first."""
        own = self.labels == phrase
        return self.boxes[own], self.scores[own]

    def above(self, threshold: float) -> GroundedText:
        """Only boxes whose score is at least `threshold`."""
        keep = self.scores >= threshold
        return replace(self, boxes=self.boxes[keep], scores=self.scores[keep], labels=self.labels[keep])

    def lines(self) -> Iterator[tuple[str, str, str]]:
        """Phrase, score and box of everything found, phrase by phrase; "not found" where there is none."""
        for place, phrase in enumerate(self.phrases):
            boxes, scores = self.of(place)
            for box, score in zip(boxes.tolist(), scores.tolist(), strict=True):
                yield phrase, f"{score:.3f}", ", ".join(f"{value:.0f}" for value in box)
            if not len(boxes):
                yield phrase, "", "not found"

    def to_records(self) -> list[dict[str, Any]]:
        """One record a phrase: its words, characters, boxes (xywh) and scores."""
        rows = []
        for place, (phrase, spans) in enumerate(zip(self.phrases, self.spans, strict=True)):
            boxes, scores = self.of(place)
            where = {"bboxes": xyxy_to_xywh(boxes).tolist(), "scores": scores.tolist()}
            rows.append({"phrase": phrase, "spans": [list(span) for span in spans], **where})
        return rows

    def to_dict(self) -> dict[str, Any]:
        """The text and its phrases, with boxes as they are here (xyxy)."""
        phrases = [
            {
                "phrase": phrase,
                "spans": [list(span) for span in spans],
                "boxes": self.of(place)[0].tolist(),
                "scores": self.of(place)[1].tolist(),
            }
            for place, (phrase, spans) in enumerate(zip(self.phrases, self.spans, strict=True))
        ]
        return {"text": self.text, "phrases": phrases}


class TextsInImage(TensorStruct):
    """What predictions about texts share: their phrases' boxes, in the forms that other tools take.

    In these a phrase is a category, counted over all texts of the image.
    """

    @property
    def grounded_texts(self) -> tuple[GroundedText, ...]:
        """The texts, in order."""
        raise undefined(self, "grounded_texts")

    @property
    def phrases(self) -> tuple[str, ...]:
        """The phrases of all texts."""
        return tuple(phrase for text in self.grounded_texts for phrase in text.phrases)

    @property
    def boxes(self) -> Tensor:
        """Float [K, 4] xyxy of all phrases of all texts."""
        parts = [text.boxes for text in self.grounded_texts]
        return torch.cat(parts) if parts else torch.zeros(0, 4)

    @property
    def scores(self) -> Tensor:
        """Float [K] in [0, 1]."""
        parts = [text.scores for text in self.grounded_texts]
        return torch.cat(parts) if parts else torch.zeros(0)

    @property
    def labels(self) -> Tensor:
        """Int64 [K], indices into `phrases`."""
        first, parts = 0, []
        for text in self.grounded_texts:
            parts.append(text.labels + first)
            first += len(text.spans)
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.int64)

    def to_coco(self, image_id: int | str) -> list[dict[str, Any]]:
        """Every box as a COCO detection result (xywh); category ids count the phrases from 1."""
        rows = zip(xyxy_to_xywh(self.boxes).tolist(), self.scores.tolist(), self.labels.tolist(), strict=True)
        return [
            {
                "image_id": image_id,
                "category_id": label + 1,
                "category_name": self.phrases[label],
                "bbox": box,
                "score": score,
            }
            for box, score, label in rows
        ]

    def to_supervision(self) -> Any:
        """Every box in `supervision.Detections`; UserError where that library is not installed."""
        labels = self.labels
        names = [self.phrases[label] for label in labels.tolist()]
        return supervision_detections(self.boxes, self.scores, labels, names)


@dataclass(frozen=True)
class GroundedCaptions(TextsInImage):
    """The captions of one image of `image_size` (height, width), each with its phrases' boxes."""

    image_size: tuple[int, int]
    captions: tuple[GroundedText, ...]

    @property
    def grounded_texts(self) -> tuple[GroundedText, ...]:
        """The captions."""
        return self.captions

    def above(self, threshold: float) -> GroundedCaptions:
        """Without boxes scored below `threshold`."""
        return replace(self, captions=tuple(caption.above(threshold) for caption in self.captions))

    def lines(self) -> list[tuple[str, str, str]]:
        """Phrase, score and box."""
        return [line for caption in self.captions for line in caption.lines()]

    def to_records(self, image_id: int | str) -> list[dict[str, Any]]:
        """One record a caption, with its phrases."""
        return [
            {"image_id": image_id, "caption": caption.text, "phrases": caption.to_records()}
            for caption in self.captions
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {"image_size": list(self.image_size), "captions": [caption.to_dict() for caption in self.captions]}

    def draw(self, image: Drawable, threshold: float = 0.0) -> Image:
        """A copy of the image (of this prediction's size) with every box, and the captions below."""
        drawn = draw_texts(image, self.above(threshold).captions)
        return draw_lines(drawn, [caption.text for caption in self.captions])


@dataclass(frozen=True)
class Answer(TensorStruct):
    """What is answered to a question, the likeliest first, with probabilities, and where its phrases are seen."""

    question: GroundedText
    texts: tuple[str, ...]
    probabilities: tuple[float, ...]
    question_id: int | None = None

    @property
    def text(self) -> str:
        """The likeliest answer."""
        return self.texts[0]

    @property
    def probability(self) -> float:
        """Of the likeliest answer."""
        return self.probabilities[0]


@dataclass(frozen=True)
class Answers(TextsInImage):
    """Answers to the questions about one image of `image_size` (height, width)."""

    image_size: tuple[int, int]
    answers: tuple[Answer, ...]

    @property
    def grounded_texts(self) -> tuple[GroundedText, ...]:
        """The questions."""
        return tuple(answer.question for answer in self.answers)

    def above(self, threshold: float) -> Answers:
        """Without boxes scored below `threshold`; every question keeps its answer."""
        answers = tuple(replace(answer, question=answer.question.above(threshold)) for answer in self.answers)
        return replace(self, answers=answers)

    def lines(self) -> list[tuple[str, str, str]]:
        """Question and answer with its probability, then the question's phrases with scores and boxes."""
        found = []
        for answer in self.answers:
            found.append((f"{answer.question.text} {answer.text}", f"{answer.probability:.3f}", ""))
            found += [(f"  {what}", score, where) for what, score, where in answer.question.lines()]
        return found

    def to_records(self, image_id: int | str) -> list[dict[str, Any]]:
        """One record a question: its answers with probabilities, and its phrases."""
        return [
            {
                "image_id": image_id,
                **({} if answer.question_id is None else {"question_id": answer.question_id}),
                "question": answer.question.text,
                "answer": answer.text,
                "answers": [list(pair) for pair in zip(answer.texts, answer.probabilities, strict=True)],
                "phrases": answer.question.to_records(),
            }
            for answer in self.answers
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        told = [
            {
                "question": answer.question.text,
                "answer": answer.text,
                "probability": answer.probability,
                "answers": [
                    {"text": text, "probability": share}
                    for text, share in zip(answer.texts, answer.probabilities, strict=True)
                ],
                "phrases": answer.question.to_dict()["phrases"],
            }
            for answer in self.answers
        ]
        return {"image_size": list(self.image_size), "answers": told}

    def draw(self, image: Drawable, threshold: float = 0.0) -> Image:
        """A copy of the image with the boxes of the questions' phrases, and questions and answers below."""
        said = [f"{answer.question.text} {answer.text} {answer.probability:.2f}" for answer in self.answers]
        return draw_lines(draw_texts(image, self.above(threshold).grounded_texts), said)


@dataclass(frozen=True)
class ImageCaption(TextsInImage):
    """What was written about one image of `image_size` (height, width), and where its phrases are seen.

    probability: of a token on average (geometric mean), in [0, 1]. Without grounding there are no phrases.
    """

    image_size: tuple[int, int]
    grounded: GroundedText
    probability: float

    @property
    def grounded_texts(self) -> tuple[GroundedText, ...]:
        """The sentence."""
        return (self.grounded,)

    @property
    def text(self) -> str:
        """The sentence."""
        return self.grounded.text

    def above(self, threshold: float) -> ImageCaption:
        """Without boxes scored below `threshold`; the sentence stays."""
        return replace(self, grounded=self.grounded.above(threshold))

    def lines(self) -> list[tuple[str, str, str]]:
        """The sentence with its probability, then its phrases with scores and boxes."""
        phrases = [(f"  {what}", score, where) for what, score, where in self.grounded.lines()]
        return [(self.text, f"{self.probability:.3f}", ""), *phrases]

    def to_records(self, image_id: int | str) -> list[dict[str, Any]]:
        """A COCO caption result, with its phrases where they were looked for."""
        phrases = {"phrases": self.grounded.to_records()} if self.grounded.spans else {}
        return [{"image_id": image_id, "caption": self.text, "score": self.probability, **phrases}]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {
            "image_size": list(self.image_size),
            "text": self.text,
            "probability": self.probability,
            "phrases": self.grounded.to_dict()["phrases"],
        }

    def draw(self, image: Drawable, threshold: float = 0.0) -> Image:
        """A copy of the image with the boxes of the sentence's phrases, and the sentence below."""
        return draw_lines(draw_texts(image, self.above(threshold).grounded_texts), [self.text])


def draw_texts(image: Drawable, texts: Sequence[GroundedText], factor: float = 1.0) -> Image:
    """A copy with the boxes of all phrases, worst first, a colour a phrase; boxes are multiplied by `factor`."""
    boxes, captions, colors = [], [], []
    first = 0
    for text in texts:
        for box, score, label in zip(text.boxes * factor, text.scores.tolist(), text.labels.tolist(), strict=True):
            boxes.append(box.tolist())
            captions.append(f"{text.phrases[label]} {score:.2f}")
            colors.append(first + label)
        first += len(text.spans)
    return draw_boxes(image, boxes[::-1], captions[::-1], colors[::-1])
