"""Batch norm of a batch that holds several branches, each normalised by its own statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from qcs.layers.processes import mean_over_processes, several_processes


class _PerBranch(nn.Module):
    """A batch norm that splits its batches in training, and lets each part pass as a batch of its own."""

    branches = 1
    world = False  # whether the statistics of a part are those of all processes' parts together

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (branches * B, C, H, W) to normalised ones."""
        if not self.training:
            return super().forward(x)
        if self.branches == 1:
            return self._normalised(x)
        return torch.cat([self._normalised(part) for part in x.chunk(self.branches)])

    def _normalised(self, x: Tensor) -> Tensor:
        return self._over_processes(x) if self.world and several_processes() else super().forward(x)

    def _over_processes(self, x: Tensor) -> Tensor:
        """The same with statistics of every process's images; all must hold equally many."""
        norm: Any = self
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = mean_over_processes(wide.mean((0, 2, 3)))
        centred = wide - mean.view(-1, 1, 1)
        variance = mean_over_processes(centred.square().mean((0, 2, 3)))
        self._track(mean.detach(), variance.detach(), dist.get_world_size() * x.numel() // x.shape[1])
        scale = norm.weight / (variance + norm.eps).sqrt()
        out = torch.addcmul(norm.bias.view(-1, 1, 1), centred, scale.view(-1, 1, 1)).to(x.dtype)
        return norm.act(norm.drop(out)) if isinstance(self, BatchNormAct2d) else out

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        norm: Any = self
        if norm.num_batches_tracked is not None:  # taken away while activations are recomputed
            norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        unbiased = variance * (count / (count - 1))
        norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)


class BranchBatchNorm2d(_PerBranch, nn.BatchNorm2d):
    """Batch norm that can take all branches in one batch and still treat them as if they came one after another.

    Inside `branches_at_once` a batch in training is split evenly along its first dimension: each part is normalised by
    its own statistics, and the running statistics see the parts in turn. Everywhere else it is `nn.BatchNorm2d`.

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
    """timm's batch norm with activation, for branches in one batch as `BranchBatchNorm2d`."""


PER_BRANCH: dict[type[nn.Module], type[_PerBranch]] = {
    nn.BatchNorm2d: BranchBatchNorm2d,
    BatchNormAct2d: BranchBatchNormAct2d,
}


def split_by_branch(module: nn.Module, world: bool = False) -> bool:
    """Make the batch norms of a network able to tell branches apart, in place.

    Args:
        module: The network; its parameters and buffers stay what they are.
        world: Take the statistics over all processes.

    Returns:
        Whether all are: False where another kind of layer normalises over the batch, or over the world one without
        weights of its own or with plain averages as running statistics.
    """
    for part in module.modules():
        if type(part) in PER_BRANCH:
            part.__class__ = PER_BRANCH[type(part)]
        if isinstance(part, _PerBranch):
            part.world = world
    return all(_tells_apart(part, world) for part in module.modules() if "running_var" in part._buffers)


def _tells_apart(norm: Any, world: bool) -> bool:
    return isinstance(norm, _PerBranch) and not (world and (norm.weight is None or norm.momentum is None))


@contextmanager
def branches_at_once(module: nn.Module, branches: int) -> Iterator[None]:
    """Within it, every batch norm in a module takes its batches for that many branches."""
    norms = [part for part in module.modules() if isinstance(part, _PerBranch)]
    for norm in norms:
        norm.branches = branches
    try:
        yield
    finally:
        for norm in norms:
            norm.branches = 1
