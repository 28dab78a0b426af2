"""Batch norm for a batch that holds several branches, each normalized by its own statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.ops.world import mean_over_processes, several_processes
from qcs.typed_call import same_signature


class _PerBranch(nn.Module):
    """A batch norm that splits its batches in training and treats each part as a batch of its own."""

    branches = 1
    world = False  # whether each part takes its statistics over that part of all processes

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized feature maps (branches * B, C, H, W)."""
        if not self.training:
            return super().forward(x)
        if self.branches == 1:
            return self._normalize(x)
        return torch.cat([self._normalize(part) for part in x.chunk(self.branches)])

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def _normalize(self, x: Tensor) -> Tensor:
        return self._over_processes(x) if self.world and several_processes() else super().forward(x)

    def _over_processes(self, x: Tensor) -> Tensor:
        """Normalize by the statistics of every process's images; all processes must hold equally many."""
        norm: Any = self
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = mean_over_processes(wide.mean((0, 2, 3)))
        centered = wide - mean.view(-1, 1, 1)
        variance = mean_over_processes(centered.square().mean((0, 2, 3)))
        self._track(mean.detach(), variance.detach(), dist.get_world_size() * x.numel() // x.shape[1])
        scale = norm.weight / (variance + norm.eps).sqrt()
        out = torch.addcmul(norm.bias.view(-1, 1, 1), centered, scale.view(-1, 1, 1)).to(x.dtype)
        return norm.act(norm.drop(out)) if isinstance(self, BatchNormAct2d) else out

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        norm: Any = self
        if norm.num_batches_tracked is not None:  # absent while activations are recomputed
            norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        unbiased = variance * (count / (count - 1))
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)


class BranchBatchNorm2d(_PerBranch, nn.BatchNorm2d):
    """Normalizes several branches in one batch as if each came by itself.

    Inside `branches_at_once` a training batch is split evenly along its first dimension: each part is normalized by
    its own statistics, and the running statistics are updated by the parts in order. Otherwise it is `nn.BatchNorm2d`.

    Example:
        >>> import torch
        >>> from qcs.layers import BranchBatchNorm2d, branches_at_once
        >>> norm, images = BranchBatchNorm2d(3), torch.randn(4, 3, 2, 2)
        >>> with branches_at_once(norm, 2):
        ...     together = norm(images)
        >>> torch.allclose(together[2:], BranchBatchNorm2d(3)(images[2:]), atol=1e-6)
        True
    """


class BranchBatchNormAct2d(_PerBranch, BatchNormAct2d):
    """Normalizes as `BranchBatchNorm2d` and applies the activation, as timm's `BatchNormAct2d`."""


PER_BRANCH: dict[type[nn.Module], type[_PerBranch]] = {
    nn.BatchNorm2d: BranchBatchNorm2d,
    BatchNormAct2d: BranchBatchNormAct2d,
}


def convert_branch_batch_norm(module: nn.Module, world: bool = False) -> nn.Module:
    """Replace the batch norms of a module by norms with statistics per branch, as `convert_sync_batchnorm` does.

    Replaced are `nn.BatchNorm2d` and timm's `BatchNormAct2d`, but not their subclasses. The new norms share
    parameters and buffers with the old ones; the keys of the state dict stay.

    Args:
        module: The module to convert, its children in place.
        world: Take each branch's statistics over all processes.

    Returns:
        `module`, or the new norm if `module` is a batch norm itself.

    Example:
        >>> from torch import nn
        >>> from qcs.layers import convert_branch_batch_norm
        >>> network = convert_branch_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
        >>> [type(layer).__name__ for layer in network.children()]
        ['Conv2d', 'BranchBatchNorm2d']
    """
    converted = _per_branch(module) if type(module) in PER_BRANCH else module
    if isinstance(converted, _PerBranch):
        converted.world = world
    for name, child in module.named_children():
        converted.add_module(name, convert_branch_batch_norm(child, world))
    return converted


def _per_branch(norm: Any) -> nn.Module:
    """Return a per-branch norm with the parameters and buffers of `norm`."""
    options = {name: getattr(norm, name) for name in ("eps", "momentum", "affine", "track_running_stats")}
    new: Any = PER_BRANCH[type(norm)](norm.num_features, **options)
    new.weight, new.bias = norm.weight, norm.bias
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        setattr(new, name, getattr(norm, name))
    return new.train(norm.training)


def separates_branches(module: nn.Module, world: bool = False) -> bool:
    """Return whether `branches_at_once` keeps the branches apart in every norm of a module.

    Args:
        module: A module, converted by `convert_branch_batch_norm`.
        world: Whether statistics are taken over all processes.

    Returns:
        False if another kind of layer normalizes over the batch, or over the world one without weights or without
        momentum (whose running statistics are plain averages).

    Raises:
        InputError: If `torch.nn.SyncBatchNorm.convert_sync_batchnorm` removed the activations of timm's norms.
    """
    parts = list(module.modules())
    if any(type(part) is nn.SyncBatchNorm and "act" in part._modules for part in parts):
        raise InputError(
            "torch.nn.SyncBatchNorm.convert_sync_batchnorm removed activations of this network (timm keeps them in its "
            "batch norms); create it again with batch_norm='world', or use timm.layers.convert_sync_batchnorm"
        )
    return all(_separates(part, world) for part in parts if "running_var" in part._buffers)


def _separates(norm: Any, world: bool) -> bool:
    return isinstance(norm, _PerBranch) and not (world and (norm.weight is None or norm.momentum is None))


@contextmanager
def branches_at_once(module: nn.Module, branches: int) -> Iterator[None]:
    """Split the batches of every per-branch norm of a module into that many branches, inside a `with` block.

    Args:
        module: A module, converted by `convert_branch_batch_norm`.
        branches: Number of branches in each batch.
    """
    norms = [part for part in module.modules() if isinstance(part, _PerBranch)]
    for norm in norms:
        norm.branches = branches
    try:
        yield
    finally:
        for norm in norms:
            norm.branches = 1
