"""Which task, which way of tuning, how long: chosen from what data holds, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from glipv2.errors import UserError
from glipv2.finetuning.facts import DataFacts, Masks

FEW, MANY = 30, 1000  # images: below the former prompts are tuned, from the latter on everything
FEW_A_STEP, MANY_A_STEP = 8, 16  # images that a step should see, below MANY and from there on
SHORTEST, LONGEST = 100, 5000  # steps
PASSES = {"prompt": 60, "lora": 40, "linear": 40, "full": 20}  # over the images, within these bounds


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why."""

    value: str
    why: str


def chosen_task(facts: DataFacts) -> Choice:
    """The task that uses most of what is annotated."""
    train = facts.train
    if train.questions:
        return Choice("vqa", f"there are {train.questions} questions with answers")
    if train.captions and train.boxes:
        return Choice("phrase_grounding", f"phrases of {train.captions} captions have boxes")
    if train.captions:
        return Choice("captioning", f"there are {train.captions} captions, and no boxes")
    if not train.boxes:
        raise UserError(f"{facts.data.path}: nothing is annotated (no box, caption or question); is it the right file?")
    return _task_of_boxes(train.boxes, facts.masks)


def _task_of_boxes(boxes: int, masks: Masks) -> Choice:
    if masks.count == boxes and not masks.are_rectangles:
        return Choice("instance_segmentation", "every box has a mask")
    if masks.are_rectangles:
        return Choice("detection", "the masks are the boxes again, so there is nothing to learn from them")
    if masks.count:
        return Choice("detection", f"only {masks.count} of {boxes} boxes have a mask")
    return Choice("detection", "there are boxes with names, and no masks")


def chosen_tune(images: int, new_heads: bool, one_prompt: bool, task: str) -> Choice:
    """Prompt tuning, low-rank updates, or everything, by the number of images.

    new_heads: the weights lack a part that the task needs, which prompt tuning would leave random; one_prompt:
    all names fit one prompt, whose places prompt tuning learns.
    """
    told = f"{images} images"
    if images >= MANY:
        return Choice("full", f"{told} are enough to train everything")
    if images >= FEW:
        return Choice("lora", f"{told}: low-rank updates learn from so many and keep most of what the weights know")
    if task not in ("detection",):
        return Choice("lora", f"{told} are few, but prompt tuning is for names alone")
    if new_heads:
        return Choice("lora", f"{told} are few, but a head starts anew, and prompt tuning trains none")
    if not one_prompt:
        return Choice("lora", f"{told} are few, but the names need several prompts, which prompt tuning can't learn")
    return Choice("prompt", f"{told} are few: only an offset to each word of the prompt is learned, the rest stays")


@dataclass(frozen=True)
class Length:
    """How long is trained: steps of `batch` · `accumulate` images."""

    batch: int
    accumulate: int
    steps: int
    every: int

    @property
    def images(self) -> int:
        """Seen in all."""
        return self.batch * self.accumulate * self.steps


def wanted_batch(images: int) -> int:
    """Images that a step should see."""
    return min(MANY_A_STEP if images >= MANY else FEW_A_STEP, images)


def chosen_length(images: int, tune: str, batch: int, steps: int | None = None) -> Length:
    """Passes over the images by the way of tuning, within bounds; eight validations, four of a short try.

    steps: set by somebody.
    """
    accumulate = max(1, wanted_batch(images) // batch)
    passes = PASSES.get(tune, PASSES["full"])
    wanted = -(-images * passes // (batch * accumulate))
    steps = steps or min(max(wanted, SHORTEST), LONGEST)
    return Length(batch, accumulate, steps, max(1, steps // (8 if steps >= SHORTEST else 4)))
