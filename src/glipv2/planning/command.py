"""What `glipv2 plan` says: parameters by part, memory of a step, and the largest batch for usual devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from glipv2.arguments import composed
from glipv2.checkpoints import with_weights_model
from glipv2.config import TrainConfig
from glipv2.errors import UserError
from glipv2.finetuning.fitting import SHARE, images_that_fit
from glipv2.hushed import hushed
from glipv2.planning.footprint import Footprint, footprints, measurable, part_sizes, planned_task
from glipv2.planning.largest import LargestBatch, largest_batches

DEVICES = (8, 24, 80)  # GB
USUAL = ("32-true", "bf16-mixed")
KNOWN = (*USUAL, "16-mixed")


def plan(words: Sequence[str]) -> Iterator[str]:
    """The lines for `glipv2 train` with these words; UserError where it could not run or can't be planned."""
    config = composed(words)
    config.optim.check()
    config.tune.check(config.data.prompts.shuffle)
    config = measurable(with_weights_model(config))
    precisions = chosen_precisions(config, words)
    with hushed("glipv2"):
        batches = list(largest_batches(config))
        answers = next((batch.answers for batch in batches if batch.answers), ())
        yield from parameter_lines(config, answers)
        yield from batch_lines(batches)
        rules = "cpu" if config.trainer.accelerator == "cpu" else "cuda"
        yield memory_row("a step with AdamW, float32 weights", "MiB/image", "MiB besides", [f"{d} GB" for d in DEVICES])
        for found in footprints(config, batches, answers, precisions, rules):
            yield footprint_line(found)
    yield (
        f"core: counted on shapes alone by the rules of {rules}, nothing of it was computed; heads and losses: one "
        f"step on this CPU. A batch may take {SHARE:.0%} of a device: kernels need memory too, and this is no promise."
    )


def chosen_precisions(config: TrainConfig, words: Sequence[str]) -> Sequence[str]:
    """Both usual ones, or the one that somebody asks for."""
    if not any(word.startswith("trainer.precision=") for word in words):
        return USUAL
    if config.trainer.precision not in KNOWN:
        raise UserError(
            f"trainer.precision={config.trainer.precision}: can plan {', '.join(KNOWN)}; choose one of them"
        )
    return (config.trainer.precision,)


def parameter_lines(config: TrainConfig, answers: Sequence[str]) -> Iterator[str]:
    """Each part, and all of them."""
    sizes = part_sizes(planned_task(config, answers))
    yield f"model={config.model.name} task={config.task.name} tune={config.tune.name}"
    yield f"{'parameters':34s} {'all':>10s} {'trained':>10s} {'frozen':>10s}"
    total, trained = sum(own.parameters for own in sizes), sum(own.trained for own in sizes)
    rows = [*((own.name, own.parameters, own.trained) for own in sizes), ("together", total, trained)]
    for name, whole, part in rows:
        yield f"{name:34s} {whole / 1e6:8.2f} M {part / 1e6:8.2f} M {(whole - part) / 1e6:8.2f} M"


def batch_lines(batches: Sequence[LargestBatch]) -> Iterator[str]:
    """What the largest image of each task is."""
    for batch in batches:
        height, width = batch.sides
        yield f"an image of {batch.task}: {height} × {width} pixels, {batch.tokens} tokens (built-in word pieces)"


def footprint_line(found: Footprint) -> str:
    """Memory, and the images that fit on each device."""
    fits = [str(images_that_fit(found.cost, gigabytes * 10**9)) for gigabytes in DEVICES]
    return memory_row(str(found.way), f"{found.per_image / 2**20:.0f}", f"{found.besides / 2**20:.0f}", fits)


def memory_row(way: str, per_image: str, besides: str, fits: Sequence[str]) -> str:
    """One row of the table."""
    return f"{way:34s} {per_image:>10s} {besides:>11s} " + " ".join(f"{images:>6s}" for images in fits)
