"""Batch norm of a batch that holds several branches, each normalised by its own statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn


class _PerBranch(nn.Module):
    """A batch norm that splits its batches in training, and lets each part pass as a batch of its own."""

    branches = 1

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (branches * B, C, H, W) to normalised ones."""
        if self.branches == 1 or not self.training:
            return super().forward(x)
        return torch.cat([super(_PerBranch, self).forward(part) for part in x.chunk(self.branches)])


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


def split_by_branch(module: nn.Module) -> bool:
    """Make the batch norms of a network able to tell branches apart, in place.

    Returns:
        Whether all are: False where another kind of layer normalises over the batch.
    """
    for part in module.modules():
        if type(part) in PER_BRANCH:
            part.__class__ = PER_BRANCH[type(part)]  # the same parameters and buffers
    return all(isinstance(part, _PerBranch) for part in module.modules() if "running_var" in part._buffers)


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
