"""The Python face of a trained model: pictures and words in, typed predictions out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, overload

import torch
from torch import Tensor

from glipv2.arithmetic import Arithmetic, pick_device, told_as_compiling
from glipv2.checkpoints import read_checkpoint
from glipv2.config import SCHEMAS
from glipv2.data.noun_phrases import prompt_of_phrases
from glipv2.data.prompts import PromptConfig, collate_rows
from glipv2.data.unlabelled import resized_for, unknown
from glipv2.errors import UserError, nearest
from glipv2.given import Picture, for_each, is_single, pixels_of, vocabulary_of
from glipv2.losses.glipv2 import LossConfig
from glipv2.models import Core
from glipv2.models.remembered import TextMemory
from glipv2.remembered_prompts import RememberedPrompts
from glipv2.screening import likely_names
from glipv2.structures import (
    DetectionBatch,
    Detections,
    ImageBatch,
    ImageTruth,
    PromptBatch,
    Segments,
    Span,
    Vocabulary,
)
from glipv2.structures.grounded import Answers, GroundedCaptions, ImageCaption
from glipv2.tasks.base import Task
from glipv2.tiling import NAMED, Tiles, in_tiles, tiles_for


class Predictor:
    """A model with its input pipeline. Prompts are remembered, so many images with one vocabulary are cheap."""

    def __init__(self, task: Task, device: str = "auto", arithmetic: Arithmetic | None = None) -> None:
        self.device = torch.device(pick_device(device))
        self.task = task.to(self.device).eval()
        self.arithmetic = arithmetic or Arithmetic()
        self.arithmetic.prepare(self.task)
        self._core: Core | None = dict(self.task.named_children()).get("core")  # type: ignore[assignment]
        if self._core is not None:  # graphs have none
            self._core.remembered = TextMemory()
        self._tasks = dict(task.subtasks())
        self._trained = next(iter(task.subtasks().values())).vocabulary
        self._tokenizer = task.model_config.tokenizer.build()
        self._prompts = RememberedPrompts(self._tokenizer)
        self._pixels = task.model_config.pixels

    @classmethod
    def load(
        cls, weights: str | Path, device: str = "auto", *, precision: str = "32", compile: str = "",
        channels_last: bool = False,
    ) -> Predictor:  # fmt: skip
        """From a run folder or weights file; UserError when it can't be read. See `Arithmetic` for the last three."""
        arithmetic = Arithmetic(precision, compile, channels_last)
        arithmetic.check()
        device = pick_device(device)  # before the reading, which takes long
        return cls(read_checkpoint(weights).build(), device, arithmetic)

    @property
    def vocabulary(self) -> Vocabulary:
        """The names the model was trained on; `detect` takes any others too."""
        assert self._trained is not None, "a loaded task carries its vocabulary"
        return self._trained

    @overload
    def detect(  # type: ignore[overload-overlap]  # a path is a sequence of letters too
        self, images: Picture, names: Sequence[str] | None = ..., *, prompts: PromptConfig | None = ...,
        threshold: float = ..., batch_size: int = ..., tile: int | Tiles = ..., screen: int = ...,
    ) -> Detections: ...  # fmt: skip

    @overload
    def detect(
        self, images: Sequence[Picture], names: Sequence[str] | Sequence[Sequence[str]] | None = ..., *,
        prompts: PromptConfig | Sequence[PromptConfig] | None = ..., threshold: float = ..., batch_size: int = ...,
        tile: int | Tiles = ..., screen: int = ...,
    ) -> list[Detections]: ...  # fmt: skip

    def detect(
        self,
        images: Picture | Sequence[Picture],
        names: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        prompts: PromptConfig | Sequence[PromptConfig] | None = None,
        threshold: float = 0.0,
        batch_size: int = 8,
        tile: int | Tiles = 0,
        screen: int = 0,
    ) -> Detections | list[Detections]:
        """Objects of these names, in each picture's own pixels; one picture gives one result, a list a list.

        images: paths, Pillow images or uint8 RGB tensors [3, H, W]. names: default the training
        vocabulary; with a list of pictures also a list of names for each. prompts: how the names become
        text (separator, captions, knowledge, eval_names), for all pictures or one for each. tile: side in pixels of
        the tiles in which large pictures are looked at besides, 0 = none. screen: only the so many likeliest names
        are looked for in a picture (of one vocabulary for all), chosen before image and text read each other: faster
        with hundreds of names, inexact, 0 = all.
        UserError for a picture that can't be read and for no names.
        """
        count = 1 if is_single(images) else len(cast("Sequence[Picture]", images))
        requests = list(zip(self._vocabularies(names, count), for_each(prompts, count), strict=True))
        task = self.task_for("detection")
        task.vocabulary = requests[0][0] if requests else None  # labels are those of each prompt's own, given below

        def asked(pictures: ImageBatch, truth: tuple[ImageTruth, ...]) -> DetectionBatch:
            own = [requests[one.image_id] for one in truth]
            return DetectionBatch(pictures, self._collated(pictures, own, screen), None, truth)

        results = self._predicted(task, images, batch_size, asked, tile)
        found = [
            replace(result, vocabulary=vocabulary).above(threshold)
            for result, (vocabulary, _) in zip(results, requests, strict=True)
        ]
        return found[0] if is_single(images) else found

    def with_vocabulary(
        self, names: Sequence[str] | None = None, *, prompts: PromptConfig | None = None, screen: int = 0
    ) -> VocabularyPredictor:
        """One object for many pictures and the same names: prompts are made, checked and read now, not at each call."""
        return VocabularyPredictor(self, self.vocabulary if names is None else vocabulary_of(names), prompts, screen)

    @overload
    def segment(  # type: ignore[overload-overlap]
        self, images: Picture, names: Sequence[str] | None = ..., *, threshold: float = ..., batch_size: int = ...,
        tile: int | Tiles = ...,
    ) -> Segments: ...  # fmt: skip

    @overload
    def segment(
        self, images: Sequence[Picture], names: Sequence[str] | None = ..., *, threshold: float = ...,
        batch_size: int = ..., tile: int | Tiles = ...,
    ) -> list[Segments]: ...  # fmt: skip

    def segment(
        self,
        images: Picture | Sequence[Picture],
        names: Sequence[str] | None = None,
        *,
        threshold: float = 0.0,
        batch_size: int = 8,
        tile: int | Tiles = 0,
    ) -> Segments | list[Segments]:
        """As `detect`, with a mask for each object; a name may be any phrase, "the cup next to the book".

        UserError also when these weights were never trained to segment.
        """
        vocabulary = vocabulary_of(names) if names is not None else self.vocabulary
        results = self.run("instance_segmentation", images, vocabulary, batch_size, tile)
        found: list[Segments] = [result.above(threshold) for result in results]
        return found[0] if is_single(images) else found

    @overload
    def caption(  # type: ignore[overload-overlap]
        self, images: Picture, *, beams: int | None = ..., threshold: float = ..., batch_size: int = ...
    ) -> ImageCaption: ...

    @overload
    def caption(
        self, images: Sequence[Picture], *, beams: int | None = ..., threshold: float = ..., batch_size: int = ...
    ) -> list[ImageCaption]: ...

    def caption(
        self,
        images: Picture | Sequence[Picture],
        *,
        beams: int | None = None,
        threshold: float = 0.0,
        batch_size: int = 8,
    ) -> ImageCaption | list[ImageCaption]:
        """A sentence about each picture, with boxes of its phrases where the weights were trained to ground captions.

        beams: sentences followed at once, 1 = greedy, default as in training. UserError when these weights
        were never trained to write.
        """
        search = self.task_for("captioning").request("")
        if beams is not None:
            search = replace(search, beams=beams)
        found = [result.above(threshold) for result in self.run("captioning", images, search, batch_size)]
        return found[0] if is_single(images) else found

    @overload
    def ground(  # type: ignore[overload-overlap]
        self, images: Picture, caption: str, phrases: Sequence[str | Span] | None = ..., *, threshold: float = ...,
        batch_size: int = ...,
    ) -> GroundedCaptions: ...  # fmt: skip

    @overload
    def ground(
        self, images: Sequence[Picture], caption: str, phrases: Sequence[str | Span] | None = ..., *,
        threshold: float = ..., batch_size: int = ...,
    ) -> list[GroundedCaptions]: ...  # fmt: skip

    def ground(
        self,
        images: Picture | Sequence[Picture],
        caption: str,
        phrases: Sequence[str | Span] | None = None,
        *,
        threshold: float = 0.0,
        batch_size: int = 8,
    ) -> GroundedCaptions | list[GroundedCaptions]:
        """The boxes of a caption's phrases in each picture, best first; below `threshold` a phrase may have none.

        phrases: words of the caption, or their characters (begin, end) where words come twice; default those
        [in brackets], or the noun phrases. UserError for words that the caption lacks and when it has no phrase.
        """
        task = self.task_for("phrase_grounding")
        request = task.request(caption) if phrases is None else prompt_of_phrases(caption, phrases)
        found = [result.above(threshold) for result in self.run("phrase_grounding", images, request, batch_size)]
        return found[0] if is_single(images) else found

    @overload
    def answer(  # type: ignore[overload-overlap]
        self, images: Picture, question: str, *, threshold: float = ..., batch_size: int = ...
    ) -> Answers: ...

    @overload
    def answer(
        self, images: Sequence[Picture], question: str, *, threshold: float = ..., batch_size: int = ...
    ) -> list[Answers]: ...

    def answer(
        self, images: Picture | Sequence[Picture], question: str, *, threshold: float = 0.0, batch_size: int = 8
    ) -> Answers | list[Answers]:
        """One of the answers the model learned, with the boxes of the question's phrases scored `threshold` or better.

        UserError when these weights were never trained to answer.
        """
        request = self.task_for("vqa").request(question)
        found = [result.above(threshold) for result in self.run("vqa", images, request, batch_size)]
        return found[0] if is_single(images) else found

    def task_for(self, name: str) -> Task:
        """The task of that name, on these weights: any whose parts they hold; UserError naming what is lacking."""
        if name not in self._tasks:
            schema = SCHEMAS["task"].get(name)
            if schema is None:
                raise UserError(f"no task '{name}'; {nearest(name, SCHEMAS['task'])}")
            parts = self.task.parts()
            try:
                self._tasks[name] = schema().assemble(parts, LossConfig.grounding_only()).eval()
            except UserError as error:
                trained = ", ".join(self.task.subtasks())
                raise UserError(f"weights trained for {trained} can't do {name}: {error}") from error
        return self._tasks[name]

    def request(self, task: str, text: str) -> Any:
        """What a text asks of a task; without names those that the weights were trained on."""
        chosen = self.task_for(task)
        return self.vocabulary if task in NAMED and not text.strip() else chosen.request(text)

    def _vocabularies(self, names: Sequence[str] | Sequence[Sequence[str]] | None, count: int) -> list[Vocabulary]:
        """One a picture."""
        if names is None:
            return [self.vocabulary] * count
        if not names or any(isinstance(own, str) or not isinstance(own, Sequence) for own in names):
            return [vocabulary_of(cast("Sequence[str]", names))] * count
        if len(names) != count:
            raise UserError(f"expected a list of names for each of {count} pictures, but got {len(names)}")
        return [vocabulary_of(own) for own in names]

    def run(
        self, task: str, images: Picture | Sequence[Picture], request: Any, batch_size: int = 8, tile: int | Tiles = 0
    ) -> Sequence[Any]:
        """Predictions of a task, one a picture, for a request as the task's `request` makes them.

        Captions to ground and questions may be a list, one for each picture.
        """
        chosen = self.task_for(task)

        def asked(pictures: ImageBatch, truth: tuple[ImageTruth, ...]) -> Any:
            own = [request[one.image_id] for one in truth] if isinstance(request, list) else request
            return chosen.batch_for(pictures, truth, own)

        return self._predicted(chosen, images, batch_size, asked, tile)

    @torch.inference_mode()
    def _predicted(
        self, task: Task, images: Picture | Sequence[Picture], batch_size: int,
        batch_for: Callable[[ImageBatch, tuple[ImageTruth, ...]], Any], tile: int | Tiles = 0,
    ) -> list[Any]:  # fmt: skip
        """One result a picture; their truths are numbered from 0 on, and tiles have their picture's number."""
        pictures: list[Picture] = [images] if is_single(images) else list(images)  # type: ignore[list-item, arg-type]

        def look(numbers: Sequence[int], tensors: Sequence[Tensor]) -> list[Any]:
            resized = self._pixels.batch([resized_for(self._pixels, tensor) for tensor in tensors])
            sizes = [(int(tensor.shape[-2]), int(tensor.shape[-1])) for tensor in tensors]
            truth = tuple(unknown(number, size) for number, size in zip(numbers, sizes, strict=True))
            return self._found(task, batch_for(resized, truth))

        if tile:
            tiles = tiles_for(task.config.name, tile)
            found: list[Any] = []
            for number, picture in enumerate(pictures):

                def seen(pieces: Sequence[Tensor], of: int = number) -> list[Any]:
                    return look([of] * len(pieces), pieces)

                found.append(in_tiles(pixels_of(picture), tiles, seen, batch_size))
            return found
        found = []
        for start in range(0, len(pictures), batch_size):
            tensors = [pixels_of(picture) for picture in pictures[start : start + batch_size]]
            found += look(range(start, start + len(tensors)), tensors)
        return found

    @torch.inference_mode()
    def of_pictures(
        self, task: str, images: ImageBatch, truth: tuple[ImageTruth, ...], request: Any, screen: int = 0
    ) -> Sequence[Any]:
        """Predictions of a task for pictures that were read before, one request for all; screen: see `detect`."""
        chosen = self.task_for(task)
        if not screen:
            return self._found(chosen, chosen.batch_for(images, truth, request))
        assert isinstance(request, Vocabulary), "names are what is screened"
        chosen.vocabulary = request
        prompts = self._collated(images, [(request, PromptConfig())] * len(images), screen)
        return self._found(chosen, DetectionBatch(images, prompts, None, truth))

    def _found(self, task: Task, batch: Any) -> list[Any]:
        with self.arithmetic.on(self.device), told_as_compiling(self.arithmetic.compile):
            return [result.to("cpu") for result in task.predictions(batch.to(self.device, non_blocking=True))]

    @torch.inference_mode()
    def read_prompts(self, vocabulary: Vocabulary, config: PromptConfig) -> None:
        """Makes the prompts of a vocabulary and reads them; calls of `detect` then find them read."""
        for batch in collate_rows([self._prompts.all_names(vocabulary, config)], self._tokenizer):
            if self._core is not None:
                self._core.read(batch.text.to(self.device))

    def _collated(
        self, pictures: ImageBatch, requests: Sequence[tuple[Vocabulary, PromptConfig]], screen: int
    ) -> tuple[PromptBatch, ...]:
        """The prompts of each picture, of all of its names or of the likeliest."""
        if not screen or screen >= len(requests[0][0]):
            return collate_rows([self._prompts.all_names(*one) for one in requests], self._tokenizer)
        if screen < 0 or any(one != requests[0] for one in requests):
            raise UserError(f"screen: expected a number of names, of one list for all pictures, but got {screen}")
        every = collate_rows([self._prompts.all_names(*requests[0])], self._tokenizer)
        with self.arithmetic.on(self.device):
            labels = likely_names(
                self.task.parts(), pictures.to(self.device), [one.to(self.device) for one in every], screen,
                self.task.model_config.pixels.size_divisor,
            )  # fmt: skip
        return collate_rows([self._prompts.some_names(*requests[0], own) for own in labels], self._tokenizer)


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
