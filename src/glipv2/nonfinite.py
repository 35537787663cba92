"""A loss that is not a number: the run ends before it touches the weights, and leaves the batch to be looked into."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from glipv2 import structures
from glipv2.checkpoint_files import save_whole
from glipv2.data.mixing import RoutedBatch
from glipv2.errors import UserError

FOLDER = "nonfinite"  # within a run's
SHOWN = 8  # names of images in the message; the file has all
KINDS = {
    value.__name__: value
    for value in (*vars(structures).values(), RoutedBatch)
    if isinstance(value, type) and dataclasses.is_dataclass(value)
}


@dataclass(frozen=True)
class Stopped:
    """A batch with what is needed to run it again. number: of the batch; terms: the losses by name."""

    record: Mapping[str, Any]
    batch: Any
    terms: Mapping[str, float]
    number: int
    rank: int
    tensors: Mapping[str, Tensor]


class StopOnNonFinite(Callback):
    """Looks at every loss before its gradients; costs a wait for the device at each step.

    Where weights are spread over devices all ranks stop together.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._batch: Any = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._batch = batch

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        own = not bool(torch.isfinite(loss))
        whole = getattr(trainer.strategy, "whole_weights", None)  # of spread ones, which all ranks gather together
        if not (own if whole is None else trainer.strategy.reduce_boolean_decision(own, all=False)):
            return
        tensors = pl_module.state_dict() if whole is None else whole()
        if not own:
            raise UserError("the loss of another process of this job is not a number; what it says stands beside this")
        terms = {name: float(value) for name, value in getattr(pl_module, "terms", {}).items()}
        number, rank = trainer.fit_loop.total_batch_idx, trainer.global_rank
        path = self.folder / FOLDER / f"step_{trainer.global_step}_rank_{rank}.pt"
        record = getattr(pl_module, "record", {})
        save_stopped(path, Stopped(record, self._batch, terms, number, rank, tensors))
        raise UserError(told(float(loss), trainer.global_step, terms, self._batch, tensors, path))


def told(
    loss: float, step: int, terms: Mapping[str, float], batch: Any, tensors: Mapping[str, Tensor], path: Path
) -> str:
    """What happened, by which terms, on which images, and what to do."""
    bad = [f"{name} {value:.4g}" for name, value in terms.items() if not torch.isfinite(torch.tensor(value))]
    names = [truth.name for truth in batch.truth]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    broken = [name for name, value in tensors.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    cause = f"; {len(broken)} weights are so already, as {broken[0]}: an earlier step broke them" if broken else ""
    return (
        f"the loss became {loss} at step {step} (terms: {', '.join(bad) or 'only their sum'}) on the images "
        f"{', '.join(names[:SHOWN])}{more}{cause}. The batch is saved: glipv2 train replay={path} tells where it "
        f"begins. The last checkpoint is from before: go on with a lower optim.lr or a longer optim.warmup_steps"
    )


def save_stopped(path: Path, stopped: Stopped) -> None:
    """Writes tensors and plain values alone, so that reading runs no code."""
    content = {field.name: getattr(stopped, field.name) for field in dataclasses.fields(stopped)}
    batch = stopped.batch.to("cpu")
    save_whole({**content, "record": json.dumps(dict(stopped.record)), "batch": plain(batch)}, path)


def read_stopped(path: Path) -> Stopped:
    """UserError for a file that is none of these."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Stopped(**{**content, "record": json.loads(content["record"]), "batch": rebuilt(content["batch"])})
    except FileNotFoundError:
        raise UserError(f"replay={path}: no such file") from None
    except Exception as error:  # whatever a foreign file brings up while it is read
        what = str(error).splitlines()[0][:120]
        raise UserError(f"replay={path}: expected a file of a run's {FOLDER}/, but it can't be read ({what})") from None


def plain(value: Any) -> Any:
    """A batch as dicts, lists and tensors."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"kind": type(value).__name__, "fields": fields}
    if isinstance(value, (tuple, list)):
        return {"kind": type(value).__name__, "items": [plain(item) for item in value]}
    if isinstance(value, dict):
        return {"kind": "dict", "items": [[plain(key), plain(item)] for key, item in value.items()]}
    if value is None or isinstance(value, (str, int, float, bool, Tensor)):
        return value
    raise TypeError(f"a batch holds a {type(value).__name__}, which is no tensor, no plain value and no structure")


def rebuilt(value: Any) -> Any:
    """The inverse of `plain`; nothing but the project's own structures is made."""
    if not isinstance(value, dict):
        return value
    kind = value["kind"]
    if kind == "dict":
        return {rebuilt(key): rebuilt(item) for key, item in value["items"]}
    if kind in ("tuple", "list"):
        return (tuple if kind == "tuple" else list)(rebuilt(item) for item in value["items"])
    return KINDS[kind](**{name: rebuilt(item) for name, item in value["fields"].items()})
