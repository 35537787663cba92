"""Weights, gradients and moments spread over the devices (FSDP2), each whole only where and while it is needed.

A device holds its share of every tensor. A block is gathered before it computes, and again for its gradient; what
belongs to no block (embeddings, heads) is whole for the length of a step. Files stay what they are: a checkpoint of
this strategy has the names, shapes and states of any other, so that a run goes on with one device or with many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_map

from glipv2.models.fusion import FusionLayer
from glipv2.models.recompute import PARTS, blocks_of

STEPS = ("training_step", "validation_step")  # what is called of a task in place of its forward
HALVES = ("of_image", "of_text")  # what is called of a cross-attention besides its forward


class ShardedStrategy(ModelParallelStrategy):
    """`trainer.strategy=fsdp`: Lightning's strategy for one axis of devices, all of which get different data.

    For a validation the weights are gathered once and kept: ranks may have batches of different number there, and
    what happens in them depends on what is found. Single numbers (a scale, a bias) are not split, and their gradients
    are averaged here.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)
        self._task: nn.Module | None = None  # once it is spread

    # Processes

    def setup_environment(self) -> None:
        """Every process has its own data."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def _configure_launcher(self) -> None:
        """As under DDP, whoever starts the processes."""
        assert self.cluster_environment is not None
        self._launcher = _SubprocessScriptLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    # Weights

    def spread(self, task: pl.LightningModule) -> None:
        """Splits a task's tensors over the devices, from the first rank's values; only for training."""
        self._task = None  # of an earlier training with this trainer
        if task.trainer.state.fn != TrainerFn.FITTING:
            return
        task.to(self.root_device)
        for tensor in (*task.parameters(), *task.buffers()):
            dist.broadcast(tensor.detach(), src=0)
        alone = {parameter for parameter in task.parameters() if not parameter.ndim}  # fully_shard refuses them
        mesh = self.device_mesh["data_parallel"]
        for unit in (*units(task), task):
            fully_shard(unit, mesh=mesh, ignored_params=alone)
            for name in STEPS if unit is task else HALVES:
                if hasattr(unit, name):
                    register_fsdp_forward_method(unit, name)
        self._task = task

    def post_backward(self, closure_loss: Tensor) -> None:
        """Averages the gradients of single numbers; those of all others are by now."""
        if self._task is None:
            return
        alone = [own.grad for own in self._task.parameters() if not own.ndim and own.grad is not None]
        if alone:
            mean = torch.stack(alone)
            dist.all_reduce(mean)
            torch._foreach_copy_(alone, list(mean / dist.get_world_size()))

    @torch.no_grad()
    def clip(self, parameters: Iterable[nn.Parameter], bound: float) -> None:
        """Bounds the norm of all gradients together, which `clip_grad_norm_` has to plan for first."""
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        shares = [grad.to_local() for grad in grads if isinstance(grad, DTensor)]
        alone = [grad for grad in grads if not isinstance(grad, DTensor)]
        square = squares(shares, self.root_device)
        dist.all_reduce(square)
        norm = (square + squares(alone, self.root_device)).sqrt()
        torch._foreach_mul_([*shares, *alone], (bound / (norm + 1e-6)).clamp(max=1.0))

    def on_validation_start(self) -> None:
        """Whole weights on every device, and the first rank's statistics of norms."""
        if self._task is None:
            return
        for buffer in self._task.buffers():
            dist.broadcast(buffer, src=0)
        self._root.set_reshard_after_forward(False)
        for module in self._task.modules():
            if isinstance(module, FSDPModule):
                module.unshard()

    def on_validation_end(self) -> None:
        """Back to shares; what torch noted of the order of blocks belongs to no step, and differs between ranks."""
        if self._task is None:
            return
        self._root.reset_iter_state()
        self._root.set_reshard_after_forward(True)
        self._root.set_reshard_after_forward(False, recurse=False)

    @property
    def _root(self) -> FSDPModule:
        return cast("FSDPModule", self._task)

    # Files

    @property
    def lightning_restore_optimizer(self) -> bool:
        """As most strategies, see `load_optimizer_state_dict`."""
        return True

    def whole_weights(self) -> dict[str, Any]:
        """A task's tensors on every rank; called on all."""
        assert self.lightning_module is not None
        return cast("dict[str, Any]", gathered(self.lightning_module.state_dict(), keep=True))

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors on the first rank, None in their place on the others; called on all."""
        assert self.lightning_module is not None
        return cast("dict[str, Any]", gathered(self.lightning_module.state_dict(), self.is_global_zero))

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """As `lightning_module_state_dict`."""
        own = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return cast("dict[str, Any]", gathered(own.state_dict(), self.is_global_zero))

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """The file, of which a rank reads what it needs."""
        found = torch.load(checkpoint_path, map_location="cpu", mmap=True, weights_only=weights_only)
        return cast("dict[str, Any]", found)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Each rank takes its share of whole tensors."""
        task = self.lightning_module
        assert task is not None
        own = task.state_dict()
        found = {name: share_of(value, own.get(name)) for name, value in checkpoint["state_dict"].items()}
        task.load_state_dict(found, strict=strict)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Moments as the parameters that they belong to, which are told by their places in the groups."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            places = (place for group in state["param_groups"] for place in group["params"])
            parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
            spread = {
                place: {name: share_of(value, parameter) for name, value in state["state"][place].items()}
                for place, parameter in zip(places, parameters, strict=True)
                if place in state["state"]
            }
            optimizer.load_state_dict({**state, "state": spread})


def squares(grads: Sequence[Tensor], device: torch.device) -> Tensor:
    """The sum over all of their squares, a float32 scalar."""
    if not grads:
        return torch.zeros((), device=device)
    return torch.stack(torch._foreach_norm(list(grads))).float().square().sum()


def units(task: nn.Module) -> Iterator[nn.Module]:
    """The modules that are gathered one after the other: the blocks of the encoders and, of the tower, their parts.

    A fusion layer itself is not run where images and texts pass it on ways of their own.
    """
    core = task.core
    assert isinstance(core, nn.Module), "a task has a core"
    for part in PARTS:
        for block in blocks_of(getattr(core, part)):
            yield from block.children() if isinstance(block, FusionLayer) else (block,)


def share_of(value: Any, like: Any) -> Any:
    """A whole tensor spread as `like` is; anything else, and what has another shape, as it is."""
    if not (isinstance(like, DTensor) and isinstance(value, Tensor) and value.shape == like.shape):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gathered(state: Any, keep: bool) -> Any:
    """A nested state with whole tensors on the CPU, one after the other; keep: whether this rank needs them."""

    def whole(value: Any) -> Any:
        if isinstance(value, DTensor):
            value = value.full_tensor()  # by all ranks together
        if not isinstance(value, Tensor):
            return value
        return value.detach().cpu() if keep else None

    return tree_map(whole, state)
