"""A model with one vocabulary for many pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from glipv2.data.prompts import PromptConfig
from glipv2.structures import Detections, Vocabulary

if TYPE_CHECKING:
    from glipv2.inference import Picture, Predictor


class VocabularyPredictor:
    """A model with one vocabulary; `detect` gives what `Predictor.detect` gives for its names.

    vocabulary: the names and their ids; screen: see there. UserError for a name that is longer than a prompt may be.
    """

    def __init__(
        self, predictor: Predictor, vocabulary: Vocabulary, prompts: PromptConfig | None = None, screen: int = 0
    ) -> None:
        self.vocabulary = vocabulary
        self.screen = screen
        self._predictor = predictor
        self._prompts = prompts or PromptConfig()
        predictor.read_prompts(vocabulary, self._prompts)

    @overload
    def detect(  # type: ignore[overload-overlap]
        self, images: Picture, *, threshold: float = ..., batch_size: int = ...
    ) -> Detections: ...

    @overload
    def detect(
        self, images: Sequence[Picture], *, threshold: float = ..., batch_size: int = ...
    ) -> list[Detections]: ...

    def detect(
        self, images: Picture | Sequence[Picture], *, threshold: float = 0.0, batch_size: int = 8
    ) -> Detections | list[Detections]:
        """Objects of these names, in each picture's own pixels; one picture gives one result, a list a list."""
        return self._predictor.detect(
            images, self.vocabulary.names, prompts=self._prompts, threshold=threshold, batch_size=batch_size,
            screen=self.screen,
        )  # fmt: skip
