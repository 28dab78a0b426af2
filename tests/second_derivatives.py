"""Tests of second derivatives need a PyTorch whose `cdist`, which defines the distances, has them; 2.7 does not."""

from __future__ import annotations

import pytest
import torch


def _known() -> bool:
    x = torch.ones(1, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.cdist(x, torch.zeros(1, 2)).sum(), x, create_graph=True)
    try:
        gradient.sum().backward()
    except NotImplementedError:
        return False
    return True


needs_second_derivatives = pytest.mark.skipif(not _known(), reason="this PyTorch has no second derivative of cdist")
