"""Gather what the processes of a run computed."""

from __future__ import annotations

import torch
from accelerate.utils import gather_object
from torch import Tensor


def in_order(logits: list[Tensor]) -> Tensor:
    """Gather the logits of all images in order; each of n processes has batches of every n-th image."""
    parts: list[list[Tensor]] = gather_object([[batch.cpu() for batch in logits]])
    batches = [batch for part in parts for batch in part]
    whole = torch.empty(sum(map(len, batches)), batches[0].shape[1])
    for rank, part in enumerate(parts):
        if part:  # there may be fewer images than processes
            whole[rank :: len(parts)] = torch.cat(part)
    return whole
