"""The batch that asks most of a machine: the longest prompt, on pictures as large as a model takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from torch import nn

from glipv2.config import TrainConfig, check_pair
from glipv2.data.transforms import Example, ExampleDataset
from glipv2.errors import UserError
from glipv2.pixels import PixelConfig
from glipv2.structures import ImageTruth, Sample, TextBatch, Vocabulary

TRIED = 4  # samples, of which the one with the longest text is taken


@dataclass(frozen=True)
class LargestBatch:
    """What a task's batches are made of: one example, again and again. answers: those that the data teaches."""

    task: str
    example: Example
    collate: Callable[[Sequence[Example]], Any]
    answers: tuple[str, ...] = ()

    def of(self, images: int) -> Any:
        """A training batch."""
        return self.collate([self.example] * images)

    @property
    def tokens(self) -> int:
        """Token places of one image's texts."""
        return text_places(self.of(1))

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) of the picture before padding."""
        return int(self.example.image.shape[-2]), int(self.example.image.shape[-1])


def largest_batches(config: TrainConfig) -> Iterator[LargestBatch]:
    """One for each task that trains; UserError where the data can't be read or lacks what a task needs."""
    for name, stream in config.task.streams().items():
        check_pair(stream.task, config.data, ["train"])
        samples = config.data.dataset("train", stream.task.needs)
        collate = stream.task.collator(config.model, config.data, samples, True)
        examples = ExampleDataset(_OnCanvas(samples, config.model.pixels), config.model.pixels, None)
        tried = [examples[index] for index in range(min(TRIED, len(examples)))]
        if not tried:
            raise UserError(f"task={name}: the training data holds no image")
        longest = max(tried, key=lambda one: text_places(collate([one])))
        answers = samples.answers if "questions" in stream.task.needs else ()
        yield LargestBatch(name, longest, collate, tuple(answers))


def text_places(batch: Any) -> int:
    """Tokens of all texts in a batch, padding included."""
    if isinstance(batch, TextBatch):
        return batch.token_ids.numel()
    if isinstance(batch, (tuple, list)):
        return sum(map(text_places, batch))
    if is_dataclass(batch) and not isinstance(batch, type):
        return sum(text_places(getattr(batch, own.name)) for own in fields(batch))
    return 0


class _OnCanvas:
    """Samples whose pictures have been widened to the longest form that a model reads in full."""

    def __init__(self, samples: Any, pixels: PixelConfig) -> None:
        self.samples, self.ratio = samples, pixels.max_long_side / pixels.short_side

    @property
    def vocabulary(self) -> Vocabulary:
        found: Vocabulary = self.samples.vocabulary
        return found

    @property
    def scored_names(self) -> tuple[str, ...]:
        return tuple(self.samples.scored_names)

    @property
    def answers(self) -> tuple[str, ...]:
        return tuple(self.samples.answers)

    def __len__(self) -> int:
        return len(self.samples)

    def truth(self, index: int) -> ImageTruth:
        found: ImageTruth = self.samples.truth(index)
        return found

    def __getitem__(self, index: int) -> Sample:
        sample: Sample = self.samples[index]
        height, width = sample.image_size
        more = (0, max(0, int(height * self.ratio) - width), 0, 0)  # at the right, where no box moves
        if width < height:
            more = (0, 0, 0, max(0, int(width * self.ratio) - height))
        masks = sample.instances.masks
        instances = (
            sample.instances if masks is None else replace(sample.instances, masks=nn.functional.pad(masks, more))
        )
        return replace(sample, image=nn.functional.pad(sample.image, more), instances=instances)
