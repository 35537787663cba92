"""What a split holds: images, boxes by class and size, texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from glipv2.structures import Caption, ImageTruth, Question

SMALL, MEDIUM = 32**2, 96**2  # COCO's borders, in square pixels
SIDES = (0, 4, 8, 16, 32, 64, 128, 256, 512)  # of boxes (square root of the area), in pixels
COMMONEST = 50  # phrases that are told


def texts_of(truth: ImageTruth) -> tuple[Caption | Question, ...]:
    """Captions, then questions."""
    return (*truth.captions, *truth.questions)


@dataclass
class SplitCounts:
    """Of one split. classes: boxes by name; images_of: images by name; sides: boxes by the largest of `SIDES` below."""

    name: str
    file: str
    kind: str
    classes: Counter[str]
    images_of: Counter[str]
    images: int = 0
    without_boxes: int = 0
    boxes: int = 0
    crowds: int = 0
    masks: int = 0
    captions: int = 0
    questions: int = 0
    phrases: Counter[str] = field(default_factory=Counter)
    sides: Counter[int] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    shapes: Counter[tuple[int, int]] = field(default_factory=Counter)
    named: bool = True

    @classmethod
    def of(cls, name: str, file: str, kind: str, names: Sequence[str], named: bool) -> SplitCounts:
        """Of nothing yet; every class is known with 0 boxes. named: boxes have classes (not phrases alone)."""
        return cls(name, file, kind, Counter(dict.fromkeys(names, 0)), Counter(dict.fromkeys(names, 0)), named=named)

    def add(self, truth: ImageTruth, names: Sequence[str]) -> None:
        """Counts one image."""
        labels, areas, crowds = truth.labels.tolist(), truth.areas.tolist(), truth.is_crowd.tolist()
        self.images += 1
        self.without_boxes += not labels
        self.boxes += len(labels)
        self.crowds += sum(crowds)
        self.captions += len(truth.captions)
        self.questions += len(truth.questions)
        self.shapes[truth.image_size] += 1
        self.classes.update(names[label] for label in labels)
        self.images_of.update({names[label] for label in labels})
        sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(dim=1).sqrt().tolist()
        self.sides.update(max(step for step in SIDES if step <= side) for side in sides if side >= 0)
        self.sizes.update("small" if area < SMALL else "medium" if area < MEDIUM else "large" for area in areas)
        for text in texts_of(truth):
            self.phrases.update(
                " ".join(text.text[begin:end] for begin, end in phrase.spans).casefold() for phrase in text.phrases
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values; of phrases the commonest."""
        counted = {key: getattr(self, key) for key in (
            "name", "file", "kind", "images", "without_boxes", "boxes", "crowds", "captions", "questions",
        )}  # fmt: skip
        return counted | {
            "phrases": self.phrases.total(),
            "distinct_phrases": len(self.phrases),
            "commonest_phrases": dict(self.phrases.most_common(COMMONEST)),
            "box_sizes": dict(self.sizes),
            "box_sides": {str(side): self.sides[side] for side in SIDES},
            "image_sizes": self.image_sizes(),
            "classes": {name: {"boxes": count, "images": self.images_of[name]} for name, count in self.classes.items()},
        }

    def image_sizes(self) -> dict[str, list[int]]:
        """Smallest, middle and largest [height, width] by area."""
        ordered = sorted(self.shapes.elements(), key=lambda size: size[0] * size[1])
        if not ordered:
            return {}
        return {
            "smallest": list(ordered[0]),
            "middle": list(ordered[len(ordered) // 2]),
            "largest": list(ordered[-1]),
        }
