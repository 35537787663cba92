"""What a service answers, as its schema tells it: the predictions' own `to_dict`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Box = Annotated[list[float], Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in the picture's pixels")]
Score = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[list[int], Field(min_length=2, max_length=2, description="height, width")]


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    error: str


class FoundObjects(BaseModel):
    """Objects, best first; lists of one length."""

    image_size: Size
    boxes: list[Box]
    scores: list[Score]
    names: list[str]
    category_ids: list[int]


class RunLengths(BaseModel):
    """A mask as COCO's compressed run lengths."""

    size: Size
    counts: str


class FoundSegments(FoundObjects):
    """Objects with masks."""

    masks: list[RunLengths]


class FoundPhrase(BaseModel):
    """A phrase: its characters [begin, end) in the text, and its boxes, best first."""

    phrase: str
    spans: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    boxes: list[Box]
    scores: list[Score]


class GroundedCaption(BaseModel):
    """A caption with its phrases."""

    text: str
    phrases: list[FoundPhrase]


class FoundCaptions(BaseModel):
    """The caption that was asked for."""

    image_size: Size
    captions: list[GroundedCaption]


class LikelyAnswer(BaseModel):
    """An answer with its probability."""

    text: str
    probability: Score


class AnsweredQuestion(BaseModel):
    """The likeliest answer, further ones, and where the question's phrases are seen."""

    question: str
    answer: str
    probability: Score
    answers: list[LikelyAnswer]
    phrases: list[FoundPhrase]


class FoundAnswers(BaseModel):
    """The question that was asked."""

    image_size: Size
    answers: list[AnsweredQuestion]


class WrittenCaption(BaseModel):
    """A sentence about the picture; probability: of a token on average."""

    image_size: Size
    text: str
    probability: Score
    phrases: list[FoundPhrase]


class Limits(BaseModel):
    """What a request may hold."""

    body_bytes: int
    pixels: int
    names: int
    letters: int
    text: int
    timeout: float


class ServedModel(BaseModel):
    """What is served."""

    model: str
    version: str
    tasks: list[str]
    names: list[str] = Field(description="looked for where a request gives none")
    limits: Limits


class Health(BaseModel):
    """ "ok" where it is."""

    status: str
