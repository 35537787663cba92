"""What is known of an image apart from its picture, and the data sets whose samples are a picture with that."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from glipv2.data.images import read_described, to_tensor
from glipv2.errors import undefined
from glipv2.structures import Caption, ImageTruth, Instances, Question, Sample


class DescribedImages(Dataset[Sample]):
    """Base of readers: pictures below `folder`, each described by `truth`, which opens no more than a header.

    `truth(index).name` is the picture's path below the folder; masks are there where the reader was opened with them.
    """

    folder: Path

    def __len__(self) -> int:
        raise undefined(self, "__len__()")

    def truth(self, index: int) -> ImageTruth:
        """All that is known of an image, in its original pixels, without decoding the picture."""
        raise undefined(self, "truth(index)")

    def name_of(self, index: int) -> str:
        """`truth(index).name`; readers whose truth takes long say it at once."""
        return self.truth(index).name

    def described_by(self, index: int) -> Path:
        """The file that says what `truth` gives, for messages."""
        raise undefined(self, "described_by(index)")

    def __getitem__(self, index: int) -> Sample:
        truth = self.truth(index)
        image = read_described(self.folder / truth.name, truth.image_size, self.described_by(index))
        return sample_of(to_tensor(image), truth)


def truth_of(sample: Sample) -> ImageTruth:
    """The annotations as the data set gave them, for metrics and pictures."""
    return described(
        sample.image_id, sample.name, sample.image_size, sample.instances, sample.captions, sample.questions
    )


def sample_of(image: Tensor, truth: ImageTruth) -> Sample:
    """A picture uint8 [3, H, W] with what is known of it."""
    found = Instances(truth.boxes, truth.labels, truth.is_crowd, truth.areas, truth.masks)
    return Sample(image, truth.image_id, truth.name, found, truth.captions, truth.questions)


def described(
    image_id: int,
    name: str,
    image_size: tuple[int, int],
    instances: Instances,
    captions: tuple[Caption, ...] = (),
    questions: tuple[Question, ...] = (),
) -> ImageTruth:
    """Instances and texts of an image of that (height, width) as one value."""
    return ImageTruth(
        image_id=image_id,
        name=name,
        image_size=image_size,
        boxes=instances.boxes,
        labels=instances.labels,
        is_crowd=instances.is_crowd,
        areas=instances.areas,
        masks=instances.masks,
        captions=captions,
        questions=questions,
    )
