"""The Python face of a trained model: pictures and words in, typed predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import torch
from PIL.Image import Image
from torch import Tensor

from glipv2.checkpoints import read_checkpoint
from glipv2.data.collate import repeated
from glipv2.data.images import read_image, to_tensor
from glipv2.data.prompts import PromptComposer, PromptConfig, collate_prompts
from glipv2.data.transforms import resize
from glipv2.errors import UserError
from glipv2.structures import DetectionBatch, Detections, ImageTruth, Instances, PromptBatch, Vocabulary
from glipv2.tasks.base import Task

Picture = str | Path | Image | Tensor


class Predictor:
    """A model with its input pipeline. Prompts are remembered, so many images with one vocabulary are cheap."""

    def __init__(self, task: Task, device: str = "auto") -> None:
        self.device = torch.device(pick_device(device))
        self.task = task.to(self.device).eval()
        self._trained = task.vocabulary
        self._prompts: dict[tuple[str, ...], tuple[PromptBatch, ...]] = {}
        self._tokenizer = task.model_config.tokenizer.build()
        self._pixels = task.model_config.pixels

    @classmethod
    def load(cls, weights: str | Path, device: str = "auto") -> Predictor:
        """From a run folder or weights file; UserError when it can't be read."""
        return cls(read_checkpoint(weights).build(), device)

    @property
    def vocabulary(self) -> Vocabulary:
        """The names the model was trained on; `detect` takes any others too."""
        assert self._trained is not None, "a loaded task carries its vocabulary"
        return self._trained

    @overload
    def detect(  # type: ignore[overload-overlap]  # a path is a sequence of letters too
        self, images: Picture, names: Sequence[str] | None = ..., *, threshold: float = ..., batch_size: int = ...
    ) -> Detections: ...

    @overload
    def detect(
        self, images: Sequence[Picture], names: Sequence[str] | None = ..., *, threshold: float = ...,
        batch_size: int = ...,
    ) -> list[Detections]: ...  # fmt: skip

    def detect(
        self,
        images: Picture | Sequence[Picture],
        names: Sequence[str] | None = None,
        *,
        threshold: float = 0.0,
        batch_size: int = 8,
    ) -> Detections | list[Detections]:
        """Objects of these names, in each picture's own pixels; one picture gives one result, a list a list.

        images: paths, Pillow images or uint8 RGB tensors [3, H, W]. names: default the training
        vocabulary. UserError for a picture that can't be read and for no names.
        """
        single = isinstance(images, (str, Path, Image, Tensor))
        pictures: list[Picture] = [images] if isinstance(images, (str, Path, Image, Tensor)) else list(images)
        vocabulary = vocabulary_of(names) if names is not None else self.vocabulary
        found: list[Detections] = []
        for start in range(0, len(pictures), batch_size):
            tensors = [_pixels_of(picture) for picture in pictures[start : start + batch_size]]
            found += [result.above(threshold) for result in self._batch(tensors, vocabulary)]
        return found[0] if single else found

    @torch.inference_mode()
    def _batch(self, pictures: Sequence[Tensor], vocabulary: Vocabulary) -> list[Detections]:
        resized = [self._resized(picture) for picture in pictures]
        batch = DetectionBatch(
            images=self._pixels.batch(resized),
            prompts=tuple(repeated(prompt, len(pictures)) for prompt in self._prompts_for(vocabulary)),
            targets=None,
            truth=tuple(_unknown(index, picture) for index, picture in enumerate(pictures)),
        )
        self.task.vocabulary = vocabulary
        return [found.to("cpu") for found in self.task.predictions(batch.to(self.device))]

    def _resized(self, picture: Tensor) -> Tensor:
        size = (int(picture.shape[-2]), int(picture.shape[-1]))
        return resize(picture, Instances.empty(), self._pixels.target_size(size))[0]

    def _prompts_for(self, vocabulary: Vocabulary) -> tuple[PromptBatch, ...]:
        if vocabulary.names not in self._prompts:
            composer = PromptComposer(vocabulary, self._tokenizer, PromptConfig())
            self._prompts[vocabulary.names] = tuple(
                collate_prompts([prompt], self._tokenizer)[0] for prompt in composer.all_names()
            )
        return self._prompts[vocabulary.names]


def vocabulary_of(names: Sequence[str]) -> Vocabulary:
    """Names asked for by a user, ids counting from 1; UserError when there is none or one comes twice."""
    if isinstance(names, str):
        raise UserError(f"expected a list of names, but got the text '{names}'; write [\"{names}\"]")
    return Vocabulary(tuple(names))


def pick_device(device: str) -> str:
    """A torch device name; "auto" takes an accelerator where there is one."""
    if device != "auto":
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
