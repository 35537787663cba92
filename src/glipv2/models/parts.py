"""The core and the heads of one model, each built when first asked for and then shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TypeVar, cast

from torch import nn

from glipv2.errors import UserError
from glipv2.models.core import Core, ModelConfig
from glipv2.models.heads.answers import AnswerHead
from glipv2.models.heads.contrast import ContrastHead
from glipv2.models.heads.masks import MaskHead
from glipv2.models.heads.regions import RegionHead
from glipv2.models.heads.words import WordHead

Part = TypeVar("Part", bound=nn.Module)


class Parts:
    """What tasks are assembled from. Tasks built from one Parts train one set of weights.

    answers: the texts that the answer head chooses from. given: the modules, by name, of a model that
    exists already; then nothing new is built, and asking for a part that it lacks is a UserError.
    """

    def __init__(
        self, model: ModelConfig, answers: Sequence[str] = (), given: Mapping[str, nn.Module] | None = None
    ) -> None:
        self.model = model
        self.answer_names = tuple(answers)
        self.tokenizer = model.tokenizer.build()
        self._given = given

    @cached_property
    def core(self) -> Core:
        """Image encoder, text encoder and fusion."""
        return self._part("core", self.model.build_core)

    @cached_property
    def regions(self) -> RegionHead:
        """Boxes that match words."""
        levels = self.model.image.levels
        return self._part(
            "regions", lambda: self.model.regions.build(self.core.image_width, self.core.text_width, levels)
        )

    @cached_property
    def contrast(self) -> ContrastHead:
        """Regions and words of different images in one space."""
        return self._part("contrast", lambda: self.model.contrast.build(self.core.image_width, self.core.text_width))

    @cached_property
    def masks(self) -> MaskHead:
        """The pixels of a box that match a phrase."""
        stride = self.model.regions.first_stride
        return self._part("masks", lambda: self.model.masks.build(self.core.image_width, self.core.text_width, stride))

    @cached_property
    def chooser(self) -> AnswerHead:
        """One of the known answers; UserError when none is known."""
        if not self.answer_names:
            raise UserError("no answers to choose from: these weights, or the data trained on, know none")
        model, count = self.model, len(self.answer_names)
        return self._part(
            "chooser",
            lambda: model.answers.build(
                self.core.image_width,
                self.core.text_width,
                model.image.levels,
                model.regions.first_stride,
                count,
                model.regions.boxes,
            ),
        )

    @cached_property
    def words(self) -> WordHead:
        """Words that were masked or come next."""
        return self._part("words", lambda: WordHead(self.core.text_width, self.tokenizer.vocab_size))

    def holds(self, name: str) -> bool:
        """Whether a model that exists already has this part."""
        return self._given is not None and name in self._given

    def _part(self, name: str, build: Callable[[], Part]) -> Part:
        if self._given is None:
            return build()
        if name not in self._given:
            raise UserError(f"these weights have no '{name}' part (they have {', '.join(self._given)})")
        return cast("Part", self._given[name])
