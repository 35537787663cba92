"""What a data loader hands to a task. Boxes speak the model-input frame unless said otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from glipv2.structures.prompts import Prompt
from glipv2.structures.samples import Caption, Question


class TensorStruct:
    """Base of frozen dataclasses that travel to a device as one value."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Every tensor moved as by `Tensor.to`."""
        return self._map(lambda tensor: tensor.to(*args, **kwargs))

    def pin_memory(self) -> Self:
        """Every tensor in page-locked memory."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return type(self)(**{field.name: _mapped(getattr(self, field.name), change) for field in fields})


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, TensorStruct):
        return value._map(change)
    if isinstance(value, tuple):
        return tuple(_mapped(item, change) for item in value)
    return value


@dataclass(frozen=True)
class ImageBatch(TensorStruct):
    """Images padded right and bottom with zeros after normalisation.

    pixels float [B, 3, H, W]; image_sizes int64 [B, 2], (height, width) before padding.
    """

    pixels: Tensor
    image_sizes: Tensor

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def by_padded_size(self, divisor: int) -> list[tuple[list[int], ImageBatch]]:
        """Row indices and sub-batches of images that need the same padding to multiples of `divisor`.

        Convolutions and global pooling see padding; run one sub-batch at a time and no image's
        result depends on its neighbours.
        """
        groups: dict[tuple[int, int], list[int]] = {}
        for index, (height, width) in enumerate(self.image_sizes.tolist()):
            groups.setdefault((-(-height // divisor) * divisor, -(-width // divisor) * divisor), []).append(index)
        return [
            (rows, ImageBatch(self.pixels[rows, :, :height, :width], self.image_sizes[rows]))
            for (height, width), rows in groups.items()
        ]


@dataclass(frozen=True)
class TextBatch(TensorStruct):
    """Token ids int64 [B, L] and token_mask bool [B, L] (True = a real token).

    segments int64 [B, L]: where several texts stand side by side in a row, which of them each token belongs
    to, counted from 0; they do not read each other. Padding counts to the first. None = one text a row.
    """

    token_ids: Tensor
    token_mask: Tensor
    segments: Tensor | None = None

    def readable(self) -> Tensor:
        """Bool [B, 1 or L, L]: each token reads the real tokens of its own text."""
        if self.segments is None:
            return self.token_mask[:, None]
        return (self.segments[:, :, None] == self.segments[:, None, :]) & self.token_mask[:, None]

    def causal_mask(self) -> Tensor:
        """Bool [B, L, L]: each token reads itself and the real tokens of its text before it."""
        length = self.token_mask.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=self.token_mask.device).tril()
        return earlier & self.readable()

    def places(self) -> Tensor:
        """int64 [B, L]: how many tokens of its own text stand before each."""
        index = torch.arange(self.token_ids.shape[1], device=self.token_ids.device).expand_as(self.token_ids)
        if self.segments is None:
            return index
        begins = self.segments.diff(dim=1, prepend=self.segments[:, :1] - 1) != 0
        return index - (index * begins).cummax(dim=1).values

    def segment_map(self) -> Tensor:
        """Bool [B, K, L]: the tokens of each of at most K texts a row; a row with fewer has empty ones."""
        if self.segments is None:
            return self.token_mask[:, None]
        count = int(self.segments.max()) + 1 if self.segments.numel() else 1
        numbers = torch.arange(count, device=self.segments.device)
        return (self.segments[:, None] == numbers[:, None]) & self.token_mask[:, None]

    def rows(self, indices: list[int]) -> TextBatch:
        """Some of the rows."""
        segments = None if self.segments is None else self.segments[indices]
        return TextBatch(self.token_ids[indices], self.token_mask[indices], segments)

    @classmethod
    def stacked(cls, batches: Sequence[TextBatch]) -> TextBatch:
        """The rows of several batches one after the other, padded to the longest."""
        if len(batches) == 1:
            return batches[0]
        longest = max(batch.token_ids.shape[1] for batch in batches)

        def padded(parts: Sequence[Tensor]) -> Tensor:
            return torch.cat([F.pad(part, (0, longest - part.shape[1])) for part in parts])

        ids, mask = (padded([getattr(batch, name) for batch in batches]) for name in ("token_ids", "token_mask"))
        if all(batch.segments is None for batch in batches):
            return cls(ids, mask)
        alone = [torch.zeros_like(batch.token_ids) if batch.segments is None else batch.segments for batch in batches]
        return cls(ids, mask, padded(alone))


@dataclass(frozen=True)
class PromptBatch(TensorStruct):
    """One prompt an image, with its phrases.

    phrase_map bool [B, P, L]: the tokens of each phrase; phrase_labels int64 [B, P]: the vocabulary
    label each phrase stands for, -1 where a row has fewer phrases than P.
    """

    text: TextBatch
    phrase_map: Tensor
    phrase_labels: Tensor

    def rows(self, indices: list[int]) -> PromptBatch:
        """The prompts of some of the images."""
        return PromptBatch(self.text.rows(indices), self.phrase_map[indices], self.phrase_labels[indices])


@dataclass(frozen=True)
class RegionTargets(TensorStruct):
    """Boxes to be found: boxes [B, N, 4]; box_mask bool [B, N]; positive_map bool [B, N, L].

    judged bool [B, L]: tokens of texts of which it is known what they name. For the others (a question of
    which nobody said where its words are seen) a region that matches nothing is no negative. None = all.
    seeds int64 [B]: of what a training step draws for each row (`luck.uniform`); None = torch's generator.
    pixel float [B, 2]: width and height, where the boxes are, of a pixel of each image as it was read; None = 1.
    """

    boxes: Tensor
    box_mask: Tensor
    positive_map: Tensor
    judged: Tensor | None = None
    seeds: Tensor | None = None
    pixel: Tensor | None = None


@dataclass(frozen=True)
class WordTargets(TensorStruct):
    """What is known of the words of a prompt, for the contrast between images and for masked words.

    box_classes int64 [B, N] and token_classes int64 [B, L]: identities of class names across images
    and data sets (`class_identity`), 0 for phrases and words of captions. maskable bool [B, L]: words
    that may be hidden. images int64 [B]: the image each text is about, counted from 0 without gaps where one
    image has several; None = each its own.
    """

    box_classes: Tensor
    token_classes: Tensor
    maskable: Tensor
    images: Tensor | None = None


@dataclass(frozen=True)
class ImageTruth(TensorStruct):
    """The annotations of one image in its original pixels, for metrics and pictures.

    boxes float [N, 4]; labels int64 [N]; is_crowd bool [N]; areas float [N]; masks bool [N, H, W] where
    they are known; phrases of captions and questions point at the instances by index.
    """

    image_id: int
    name: str
    image_size: tuple[int, int]
    boxes: Tensor
    labels: Tensor
    is_crowd: Tensor
    areas: Tensor
    masks: Tensor | None = None
    captions: tuple[Caption, ...] = ()
    questions: tuple[Question, ...] = ()


@dataclass(frozen=True)
class DetectionBatch(TensorStruct):
    """Images, their prompts and their boxes.

    Training gives one prompt an image, `targets` and `words`; evaluation gives as many prompts as the
    vocabulary needs, all of them for every image, and no targets. masks: of each image those of its
    targets, bool [N, h, w] in its own size as the model sees it, where masks are taught.
    """

    images: ImageBatch
    prompts: tuple[PromptBatch, ...]
    targets: RegionTargets | None
    truth: tuple[ImageTruth, ...]
    words: WordTargets | None = None
    masks: tuple[Tensor, ...] | None = None

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class TextQueryBatch(TensorStruct):
    """B images and Q texts about them: captions to be grounded, questions to be answered.

    texts: each with its phrases in characters, labelled by their place in it; prompts: the same as tokens,
    R rows, one a text or, where texts of an image stand side by side, one an image that has any; image_rows
    int64 [R]: the image that each is about, so that an image is encoded once for all of its texts. Training
    adds targets and words, one a row, and questions answers float [Q, A], how right each answer is. Texts of
    one image follow one another in the order of its truth.
    """

    images: ImageBatch
    texts: tuple[Prompt, ...]
    prompts: PromptBatch
    image_rows: Tensor
    truth: tuple[ImageTruth, ...]
    targets: RegionTargets | None = None
    words: WordTargets | None = None
    answers: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)


def pad_rows(rows: list[Tensor], fill: float = 0) -> tuple[Tensor, Tensor]:
    """Stacks tensors that differ in their first axis: values [B, N, ...] and mask bool [B, N]."""
    longest = max((row.shape[0] for row in rows), default=0)
    values = rows[0].new_full((len(rows), longest, *rows[0].shape[1:]), fill)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for index, row in enumerate(rows):
        values[index, : row.shape[0]] = row
        mask[index, : row.shape[0]] = True
    return values, mask
