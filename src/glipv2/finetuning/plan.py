"""The plan of a fine-tuning: its words for `glipv2 train`, and ten lines that say what was chosen and why."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from glipv2.finetuning.facts import DataFacts
from glipv2.finetuning.fitting import StepCost
from glipv2.finetuning.recipes import Choice, Length

RATES = {  # learning rate and weight decay by the way of tuning
    "prompt": (2e-2, 0.0),
    "lora": (1e-3, 1e-4),
    "linear": (1e-3, 1e-4),
    "full": (1e-4, 1e-4),
}
SMALL_MODEL, SMALL_FACTOR = 20e6, 5.0  # parameters below which a model takes larger steps, and how much larger
FIXED_NAMES = (  # prompt tuning learns the places of names
    "data.prompts.shuffle=false", "data.prompts.max_names=0", "data.prompts.full_probability=1",
    "data.prompts.leave_out=0",
)  # fmt: skip
LISTED_NAMES = 6


def first_words(facts: DataFacts, weights: str, task: Choice, tune: Choice) -> list[str]:
    """What is known before a step is measured."""
    data = facts.data
    words = [f"weights={weights}", "model=as_weights", f"task={task.value}", "data=auto", f"data.path={data.path}"]
    for split in ("train", "val", "test"):
        own = getattr(data, split)
        words += [f"data.{split}.path={own.path}"] * bool(own.path)
        words += [f"data.{split}.images={own.images}"] * bool(own.images)
    words += [f"data.images={data.images}"] * bool(data.images)
    words += [f"data.holdout={data.holdout}"] * bool(data.holdout)
    words += [f"data.on_error={data.on_error}"] * (data.on_error != "raise")
    words += ["data.answer_min_count=1"] * (task.value == "vqa")
    words += [f"tune={tune.value}"]
    return words + list(FIXED_NAMES) * (tune.value == "prompt")


def further_words(tune: Choice, length: Length, parameters: int, bf16: bool) -> list[str]:
    """What a measured step decides on."""
    rate, decay = RATES.get(tune.value, RATES["full"])
    rate *= SMALL_FACTOR if parameters < SMALL_MODEL and tune.value == "full" else 1
    warmup = max(1, min(50, length.steps // 10))
    return [
        f"data.batch_size={length.batch}",
        f"data.eval_batch_size={length.batch}",
        f"optim.lr={rate:g}",
        f"optim.weight_decay={decay:g}",
        f"optim.text_lr_factor={0.1 if tune.value == 'full' else 1}",
        f"optim.warmup_steps={warmup}",
        f"trainer.max_steps={length.steps}",
        f"trainer.val_every={length.every}",
        f"trainer.accumulate={length.accumulate}",
        *(["trainer.precision=bf16-mixed"] if bf16 else []),
    ]


def merged(words: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """Our words without those that somebody gave too, then theirs."""
    own = [word for word in words if word.partition("=")[0] not in given]
    return own + [f"{key}={value}" for key, value in given.items()]


@dataclass(frozen=True)
class Plan:
    """Everything that was decided. cost: None where the batch was set by hand; parts_anew: heads the weights lack."""

    facts: DataFacts
    weights: str
    model: str
    trained_for: str
    parameters: int
    parts_anew: tuple[str, ...]
    task: Choice
    tune: Choice
    length: Length
    cost: StepCost | None
    free: int
    output: str
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """What does the same without us."""
        return shlex.join(["glipv2", "train", *self.words])

    def lines(self) -> list[str]:
        """Ten lines for people."""
        rows = (
            ("data", self._data()),
            ("check", self._check()),
            ("annotated", self._annotated()),
            ("task", f"{self.task.value}: {self.task.why}"),
            ("weights", self._weights()),
            ("tune", f"{self.tune.value}: {self.tune.why}"),
            ("batch", self._batch()),
            ("length", self._length()),
            ("output", f"{self.output}: the best of {self.length.steps // self.length.every} validations is kept"),
            ("the same", self.command),
        )
        return [f"{what:9}  {said}" for what, said in rows]

    def _data(self) -> str:
        facts = self.facts
        split = f", held out by name ({facts.data.holdout:g})" if facts.val is None else ""
        return (
            f"{facts.data.path} is {facts.format} ({facts.why}): {facts.train_images} images to train on"
            f"{f' ({facts.data.shots} boxes of each name)' if facts.data.shots else ''}, "
            f"{facts.val_images} to validate on{split}"
        )

    def _check(self) -> str:
        findings = self.facts.report.findings
        told = f"{findings.errors} errors, {findings.warnings} warnings in {self.facts.report.pictures_read} pictures"
        codes = f" ({', '.join(sorted(findings.counts))}; glipv2 data check tells them)" if findings.counts else ""
        truth = self.facts.truth_ap
        return told + codes + (f"; the truth itself scores box AP {truth:.3f}" if truth is not None else "")

    def _annotated(self) -> str:
        train = self.facts.train
        names = self.facts.names
        more = [f"{len(names) - LISTED_NAMES} more"] * (len(names) > LISTED_NAMES)
        shown = ", ".join([*names[:LISTED_NAMES], *more])
        parts = [f"{train.boxes} boxes" + (f" of {len(names)} names ({shown})" if names else "")] * bool(train.boxes)
        parts += [f"{self.facts.masks.count} masks"] * bool(self.facts.masks.count)
        parts += [f"{train.captions} captions"] * bool(train.captions)
        parts += [f"{train.phrases.total()} phrases"] * bool(train.phrases)
        parts += [f"{train.questions} questions"] * bool(train.questions)
        return ", ".join(parts)

    def _weights(self) -> str:
        anew = f"; starts anew: {', '.join(self.parts_anew)}" if self.parts_anew else ""
        size = f"{self.parameters / 1e6:.1f} M parameters"
        return f"{self.weights}: {self.model}, {size}, trained for {self.trained_for}{anew}"

    def _batch(self) -> str:
        batch = self.length.batch
        steps = f", {self.length.accumulate} batches a step" if self.length.accumulate > 1 else ""
        if self.cost is None:
            return f"{batch}, as you set it{steps}"
        return (
            f"{batch}: a step keeps {self.cost.bytes_per_image / 2**20:.0f} MiB an image (measured), "
            f"{self.free / 2**30:.1f} GiB are free on {self.cost.device}{steps}"
        )

    def _length(self) -> str:
        passes = self.length.images / max(self.facts.train_images, 1)
        time = f"; roughly {self._minutes():.0f} min and the validations" if self.cost else ""
        return f"{self.length.steps} steps, {passes:.0f} passes over the images{time}"

    def _minutes(self) -> float:
        assert self.cost is not None
        return max(1.0, self.length.images * self.cost.seconds_per_image / 60)
