"""A trained model as a service sees it: requests checked one by one, pictures worked on together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from PIL import Image
from torch import Tensor

from glipv2.data.images import read_image, to_tensor
from glipv2.errors import UserError
from glipv2.given import vocabulary_of
from glipv2.inference import Predictor
from glipv2.serving.settings import ServeConfig
from glipv2.structures import Prediction

TASKS = {
    "detect": "detection",
    "segment": "instance_segmentation",
    "ground": "phrase_grounding",
    "answer": "vqa",
    "caption": "captioning",
}
MOST_BEAMS = 8


@dataclass(frozen=True)
class Question:
    """What is asked of a picture. kind: what goes together begins with the task."""

    kind: tuple[Hashable, ...]
    request: Any


class ServedModel:
    """Which tasks there are, what may be asked, and the work itself."""

    def __init__(self, predictor: Predictor, config: ServeConfig) -> None:
        self.predictor, self.config = predictor, config
        self.tasks = {way: task for way, task in TASKS.items() if self._can(task)}

    def _can(self, task: str) -> bool:
        try:
            self.predictor.task_for(task)
        except UserError:
            return False
        return True

    def picture(self, content: bytes) -> Tensor:
        """The pixels of an uploaded file; UserError for anything else than a picture of allowed size."""
        try:
            return to_tensor(read_image("upload", content=content, max_pixels=self.config.pixels))
        except MemoryError as error:
            raise UserError("the picture does not fit into memory; shrink it") from error

    def about_names(self, way: str, names: Sequence[str]) -> Question:
        """Names to look for, default those trained on."""
        given = [name for name in names if name.strip()]
        if len(given) > self.config.names:
            raise UserError(f"expected at most {self.config.names} names, but got {len(given)}")
        self._check_texts(given)
        if (letters := sum(map(len, given))) > self.config.letters:
            raise UserError(f"expected names of at most {self.config.letters} characters together, but got {letters}")
        vocabulary = vocabulary_of(given) if given else self.predictor.vocabulary
        if way == "segment":
            return Question((way, vocabulary.names), vocabulary)
        return Question((way,), vocabulary)

    def about_text(self, way: str, text: str) -> Question:
        """A caption to ground or a question."""
        self._check_texts([text])
        if not text.strip():
            raise UserError(f"expected a text to {way}, but got an empty one")
        return Question((way,), self.predictor.request(self.tasks[way], text))

    def caption(self, beams: int | None) -> Question:
        """A sentence is to be written, following so many at once."""
        return Question(("caption", beams), beams)

    def work(self, kind: Hashable, pictures: Sequence[Tensor], requests: Sequence[Any]) -> Sequence[Prediction]:
        """Predictions for pictures and requests of one kind."""
        way, together = cast("tuple[str, ...]", kind)[0], len(pictures)
        if way == "detect":
            found = self.predictor.detect(pictures, [request.names for request in requests], batch_size=together)
            return [replace(one, vocabulary=own) for one, own in zip(found, requests, strict=True)]  # with its ids
        if way == "caption":
            return self.predictor.caption(pictures, beams=requests[0], batch_size=together)
        request = requests[0] if way == "segment" else list(requests)
        return self.predictor.run(self.tasks[way], pictures, request, together)

    def warm_up(self) -> None:
        """One small picture through every task, so that the first request does not wait for what is done once."""
        picture = to_tensor(Image.new("RGB", (64, 64), "grey"))
        for way in self.tasks:
            if way in ("detect", "segment"):
                question = self.about_names(way, ["a thing"])
            elif way == "caption":
                question = self.caption(None)
            else:
                question = self.about_text(way, "[a thing]")
            self.work(question.kind, [picture], [question.request])

    def _check_texts(self, texts: Sequence[str]) -> None:
        longest = max(map(len, texts), default=0)
        if longest > self.config.text:
            raise UserError(f"expected texts of at most {self.config.text} characters, but got one of {longest}")
