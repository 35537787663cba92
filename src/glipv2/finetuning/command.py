"""What `glipv2 finetune` does: plans, tells, trains, measures what was won and kept, and says how to go on."""

from __future__ import annotations

import logging
import re
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from glipv2.arguments import composed
from glipv2.arithmetic import pick_device
from glipv2.checking.terminal import progress_bar
from glipv2.checkpoints import Checkpoint, read_checkpoint, with_weights_model
from glipv2.config import SCHEMAS
from glipv2.data.prompts import PromptComposer, PromptConfig
from glipv2.data.sources import AutoData
from glipv2.errors import UserError, nearest
from glipv2.evaluate import open_data
from glipv2.finetuning.facts import DataFacts, read_facts, whole_data, whole_number
from glipv2.finetuning.fitting import StepCost, fitting_batch, free_memory, step_cost
from glipv2.finetuning.plan import Plan, first_words, further_words, merged
from glipv2.finetuning.recipes import Choice, chosen_length, chosen_task, chosen_tune, wanted_batch
from glipv2.hushed import hushed
from glipv2.structures import Vocabulary
from glipv2.train import build_task

log = logging.getLogger(__name__)

MEASURED = 3  # batches of two images
SHAPES = "shapes"  # what to keep, where it is no path
Run = Callable[[str, Sequence[str]], None]  # a command and its words


@dataclass(frozen=True)
class FinetuneRequest:
    """data, weights: paths; keep: further data of which it is measured what was kept; given: words for training."""

    data: str
    weights: str
    keep: str | None = None
    output: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)


def finetune(request: FinetuneRequest, run: Run, *, only_plan: bool = False) -> None:
    """See `glipv2 finetune --help`. run: starts another command of this program."""
    console = Console()
    plan = planned(request, console)
    console.print("\n".join(plan.lines()), highlight=False, markup=False, soft_wrap=True)
    if only_plan:
        return
    run("train", list(plan.words))
    measure(plan, request, run)
    console.print("\n".join(closing(plan)), highlight=False, markup=False, soft_wrap=True)


def planned(request: FinetuneRequest, console: Console) -> Plan:
    """Reads weights and data, chooses, and measures a step."""
    start = read_checkpoint(request.weights)
    data = whole_data(request.data, request.given)
    with hushed("glipv2"), progress_bar(Console(stderr=True)) as progress:
        facts = read_facts(data, start.model.tokenizer.build(), progress)
    _refuse_errors(facts)
    task = _task(request.given, facts)
    if request.keep and request.keep != SHAPES:
        _check_kept(request.keep, task.value)
    anew = _parts_anew(start, task.value)
    tune = _tune(request.given, facts, task.value, start, bool(anew))
    output = request.output or f"runs/finetuned/{Path(facts.data.path or '').stem}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    first = [f"output={output}", f"name={_as_name(output)}", *first_words(facts, request.weights, task, tune)]
    given = {key: value for key, value in request.given.items() if key not in ("task", "tune")}
    device = torch.device(_device(given))
    wanted = whole_number(given, "data.batch_size")
    cost = None if wanted else _measured(merged(first, given), start, min(2, facts.train_images), device)
    free = free_memory(device)
    batch = wanted or fitting_batch(_known(cost), free, facts.train_images, wanted_batch(facts.train_images))
    steps = whole_number(given, "trainer.max_steps") or None
    length = chosen_length(facts.train_images, tune.value, batch, steps)
    if "trainer.val_every" in given:
        length = replace(length, every=whole_number(given, "trainer.val_every") or length.steps)
    parameters = sum(tensor.numel() for tensor in start.tensors.values())
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    words = merged(first + further_words(tune, length, parameters, bf16), given)
    composed(words).check()
    return Plan(
        facts, request.weights, start.model.name, start.task.name, parameters, anew, task, tune, length, cost, free,
        output, tuple(words),
    )  # fmt: skip


def _check_kept(path: str, task: str) -> None:
    """UserError now for what could be evaluated on only after the training."""
    data = AutoData(path=path)
    needs = SCHEMAS["task"][task]().needs
    try:
        data.check_needs(needs, ["val"], f"task={task}")
        data.dataset("val", needs)
    except UserError as error:
        raise UserError(f"keep={path}: {error}") from error


def _as_name(output: str) -> str:
    """The run's name: its folder's, without what the command line and trackers take for something else."""
    return re.sub(r"[^\w.-]+", "_", Path(output).name).strip("_") or "finetuned"


def _known(cost: StepCost | None) -> StepCost:
    assert cost is not None, "a batch that nobody set is measured"
    return cost


def _refuse_errors(facts: DataFacts) -> None:
    """Faulty records are refused, or left out where somebody asked for that."""
    findings = facts.report.findings
    if findings.errors and facts.data.on_error != "skip":
        worst = next(finding for finding in findings.shown if finding.is_error)
        raise UserError(
            f"{facts.data.path}: {findings.errors} errors, the first: {worst}; see all with glipv2 data check "
            f"{shlex.quote(str(facts.data.path))}, or leave such records out with data.on_error=skip"
        )


def _task(given: Mapping[str, str], facts: DataFacts) -> Choice:
    if "task" not in given:
        return chosen_task(facts)
    if given["task"] not in SCHEMAS["task"]:
        raise UserError(f"task={given['task']}: no such task; {nearest(given['task'], SCHEMAS['task'])}")
    return Choice(given["task"], "as you set it")


def _tune(given: Mapping[str, str], facts: DataFacts, task: str, start: Checkpoint, new_heads: bool) -> Choice:
    if "tune" in given:
        if given["tune"] not in SCHEMAS["tune"]:
            raise UserError(f"tune={given['tune']}: no such way; {nearest(given['tune'], SCHEMAS['tune'])}")
        return Choice(given["tune"], "as you set it")
    one_prompt = True
    if facts.names:
        composer = PromptComposer(Vocabulary(facts.names), start.model.tokenizer.build(), PromptConfig())
        one_prompt = len(composer.all_names()) == 1
    return chosen_tune(facts.train_images, new_heads, one_prompt, task)


def _parts_anew(start: Checkpoint, task: str) -> tuple[str, ...]:
    """Modules beside the core that the task has and the weights lack."""
    known = {name.partition(".")[0] for name in start.tensors}
    with torch.device("meta"), hushed("glipv2.models"):
        built = SCHEMAS["task"][task]().build(_without_files(start), _grounding_only(), start.answers or ("yes",))
    return tuple(name for name, _ in built.named_children() if name not in known)


def _without_files(start: Checkpoint) -> Any:
    from glipv2.models.conventions import starting_from

    return starting_from(start.model, start.model)[0]


def _grounding_only() -> Any:
    from glipv2.losses.glipv2 import LossConfig

    return LossConfig.grounding_only()


def _device(given: Mapping[str, str]) -> str:
    wanted = given.get("trainer.accelerator", "auto")
    if wanted == "auto" and given.get("trainer") == "cpu_bf16":
        return "cpu"
    return pick_device({"gpu": "cuda"}.get(wanted, wanted))


def _measured(words: Sequence[str], start: Checkpoint, batch: int, device: torch.device) -> StepCost:
    """A few steps as training will make them, on two images each where there are two."""
    config = with_weights_model(composed([*words, f"data.batch_size={batch}", "data.workers=0"]))
    with hushed("glipv2"):
        data = open_data(config.task, config.model, config.data, train=True, split="val")
        task = build_task(config, start, data.answers)
        return step_cost(task, islice(data.first_batches(MEASURED), MEASURED), device)


def measure(plan: Plan, request: FinetuneRequest, run: Run) -> None:
    """Evaluates old and new weights on the new data, and on what is to be kept."""
    if plan.trained_for not in (plan.task.value, "joint"):
        log.info("no numbers of before: these weights were trained for %s, not %s", plan.trained_for, plan.task.value)
        return
    data = [word for word in plan.words if word.startswith(("data=", "data."))]
    both = [f"weights={plan.output}", f"before={request.weights}"]
    trainer = [
        word for word in plan.words if word.startswith(("trainer=", "trainer.accelerator=", "trainer.precision="))
    ]
    print("before and after, on the new data:", flush=True)
    run("evaluate", [*both, *data, *trainer])
    if request.keep:
        kept = [f"data={SHAPES}"] if request.keep == SHAPES else ["data=auto", f"data.path={request.keep}"]
        print(f"before and after, on what is to be kept ({request.keep}):", flush=True)
        run("evaluate", [*both, *kept, f"output={plan.output}/evaluation/kept", *trainer])


def closing(plan: Plan) -> list[str]:
    """How to go on."""
    asked = {"phrase_grounding": ["text=a [dog] on a [red mat]"], "vqa": ["text=what is this?"]}
    words = [f"weights={plan.output}", f"images={plan.facts.picture}", *asked.get(plan.task.value, [])]
    return [
        f"a page about the run: {shlex.join(['glipv2', 'report', plan.output])}",
        f"use the new weights:  {shlex.join(['glipv2', 'predict', *words])}",
    ]
