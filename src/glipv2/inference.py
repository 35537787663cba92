"""The Python face of a trained model: pictures and words in, typed predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast, overload

import torch
from PIL.Image import Image
from torch import Tensor

from glipv2.checkpoints import read_checkpoint
from glipv2.data.images import read_image, to_tensor
from glipv2.data.prompts import PromptComposer, PromptConfig, collate_rows
from glipv2.data.transforms import resize
from glipv2.errors import UserError
from glipv2.structures import DetectionBatch, Detections, ImageTruth, Instances, Prompt, Vocabulary
from glipv2.tasks.base import Task

Picture = str | Path | Image | Tensor


class Predictor:
    """A model with its input pipeline. Prompts are remembered, so many images with one vocabulary are cheap."""

    def __init__(self, task: Task, device: str = "auto") -> None:
        self.device = torch.device(pick_device(device))
        self.task = task.to(self.device).eval()
        self._trained = task.vocabulary
        self._prompts: dict[tuple[tuple[str, ...], str], list[Prompt]] = {}
        self._tokenizer = task.model_config.tokenizer.build()
        self._pixels = task.model_config.pixels

    @classmethod
    def load(cls, weights: str | Path, device: str = "auto") -> Predictor:
        """From a run folder or weights file; UserError when it can't be read."""
        device = pick_device(device)  # before the reading, which takes long
        return cls(read_checkpoint(weights).build(), device)

    @property
    def vocabulary(self) -> Vocabulary:
        """The names the model was trained on; `detect` takes any others too."""
        assert self._trained is not None, "a loaded task carries its vocabulary"
        return self._trained

    @overload
    def detect(  # type: ignore[overload-overlap]  # a path is a sequence of letters too
        self, images: Picture, names: Sequence[str] | None = ..., *, prompts: PromptConfig | None = ...,
        threshold: float = ..., batch_size: int = ...,
    ) -> Detections: ...  # fmt: skip

    @overload
    def detect(
        self, images: Sequence[Picture], names: Sequence[str] | Sequence[Sequence[str]] | None = ..., *,
        prompts: PromptConfig | Sequence[PromptConfig] | None = ..., threshold: float = ..., batch_size: int = ...,
    ) -> list[Detections]: ...  # fmt: skip

    def detect(
        self,
        images: Picture | Sequence[Picture],
        names: Sequence[str] | Sequence[Sequence[str]] | None = None,
        *,
        prompts: PromptConfig | Sequence[PromptConfig] | None = None,
        threshold: float = 0.0,
        batch_size: int = 8,
    ) -> Detections | list[Detections]:
        """Objects of these names, in each picture's own pixels; one picture gives one result, a list a list.

        images: paths, Pillow images or uint8 RGB tensors [3, H, W]. names: default the training
        vocabulary; with a list of pictures also a list of names for each. prompts: how the names become
        text (separator, captions, knowledge, eval_names), for all pictures or one for each.
        UserError for a picture that can't be read and for no names.
        """
        single = isinstance(images, (str, Path, Image, Tensor))
        pictures: list[Picture] = [images] if isinstance(images, (str, Path, Image, Tensor)) else list(images)
        requests = list(zip(self._vocabularies(names, len(pictures)), _each(prompts, len(pictures)), strict=True))
        found: list[Detections] = []
        for start in range(0, len(pictures), batch_size):
            chunk = slice(start, start + batch_size)
            tensors = [_pixels_of(picture) for picture in pictures[chunk]]
            found += [result.above(threshold) for result in self._batch(tensors, requests[chunk])]
        return found[0] if single else found

    def _vocabularies(self, names: Sequence[str] | Sequence[Sequence[str]] | None, count: int) -> list[Vocabulary]:
        """One a picture."""
        if names is None:
            return [self.vocabulary] * count
        if not names or any(isinstance(own, str) or not isinstance(own, Sequence) for own in names):
            return [vocabulary_of(cast("Sequence[str]", names))] * count
        if len(names) != count:
            raise UserError(f"expected a list of names for each of {count} pictures, but got {len(names)}")
        return [vocabulary_of(own) for own in names]

    @torch.inference_mode()
    def _batch(
        self, pictures: Sequence[Tensor], requests: Sequence[tuple[Vocabulary, PromptConfig]]
    ) -> list[Detections]:
        resized = [self._resized(picture) for picture in pictures]
        batch = DetectionBatch(
            images=self._pixels.batch(resized),
            prompts=collate_rows([self._prompts_for(*request) for request in requests], self._tokenizer),
            targets=None,
            truth=tuple(_unknown(index, picture) for index, picture in enumerate(pictures)),
        )
        self.task.vocabulary = requests[0][0]  # labels are those of each prompt's own vocabulary, given below
        found = self.task.predictions(batch.to(self.device))
        return [
            replace(result.to("cpu"), vocabulary=vocabulary)
            for result, (vocabulary, _) in zip(found, requests, strict=True)
        ]

    def _resized(self, picture: Tensor) -> Tensor:
        size = (int(picture.shape[-2]), int(picture.shape[-1]))
        return resize(picture, Instances.empty(), self._pixels.target_size(size))[0]

    def _prompts_for(self, vocabulary: Vocabulary, config: PromptConfig) -> list[Prompt]:
        key = (vocabulary.names, repr(config))
        if key not in self._prompts:
            self._prompts[key] = PromptComposer(vocabulary, self._tokenizer, config).all_names()
        return self._prompts[key]


def _each(prompts: PromptConfig | Sequence[PromptConfig] | None, count: int) -> list[PromptConfig]:
    if prompts is None or isinstance(prompts, PromptConfig):
        return [prompts or PromptConfig()] * count
    if len(prompts) != count:
        raise UserError(f"expected a PromptConfig for each of {count} pictures, but got {len(prompts)}")
    return list(prompts)


def vocabulary_of(names: Sequence[str]) -> Vocabulary:
    """Names asked for by a user, ids counting from 1; UserError when there is none or one comes twice."""
    if isinstance(names, str):
        raise UserError(f"expected a list of names, but got the text '{names}'; write [\"{names}\"]")
    strange = next((name for name in names if not isinstance(name, str)), None)
    if strange is not None:
        raise UserError(f"expected names, but got {strange!r} among them; give texts only, or a list for each picture")
    return Vocabulary(tuple(names))


def pick_device(device: str) -> str:
    """A torch device name; "auto" takes an accelerator where there is one. UserError for one that is not here."""
    if device != "auto":
        try:
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:  # a torch without CUDA asserts
            raise UserError(f"device={device}: {str(error).splitlines()[0]}") from error
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _pixels_of(picture: Picture) -> Tensor:
    if isinstance(picture, Tensor):
        if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] != 3:
            raise UserError(f"expected a uint8 tensor [3, H, W], but got {picture.dtype} {list(picture.shape)}")
        return picture
    return to_tensor(picture.convert("RGB") if isinstance(picture, Image) else read_image(picture))


def _unknown(index: int, picture: Tensor) -> ImageTruth:
    empty = Instances.empty()
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    return ImageTruth(index, "", size, empty.boxes, empty.labels, empty.is_crowd, empty.areas)
