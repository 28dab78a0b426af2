"""Compare the logits of an exported file with those of its network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qcs.errors import InputError
from qcs.export.loaded import Run

TOLERANCE = {"fp32": 1e-4, "bf16": 0.05, "int8": 1 / 3}
"""Largest accepted difference of a logit, relative to the largest logit."""


@dataclass(frozen=True)
class Difference:
    """Difference between the logits of an export and those of its network.

    Attributes:
        largest: Largest absolute difference of a logit.
        scale: Largest absolute logit of the network.
        same_class: Fraction of the images with the same predicted class, in [0, 1].
    """

    largest: float
    scale: float
    same_class: float


def compare(network: nn.Module, run: Run, batches: list[Tensor]) -> Difference:
    """Compare logits batch by batch.

    Args:
        network: The network in evaluation mode.
        run: The exported network.
        batches: Images (B, C, H, W); B may differ between batches.
    """
    with torch.inference_mode():
        wanted = torch.cat([network(images) for images in batches])
    got = torch.cat([torch.tensor(run(images.numpy())) for images in batches])
    same = (wanted.argmax(1) == got.argmax(1)).double().mean()
    return Difference(float((wanted - got).abs().max()), float(wanted.abs().max()), float(same))


def require_close(difference: Difference, precision: str, what: str) -> None:
    """Check that the difference is within the tolerance of the precision.

    Raises:
        InputError: If it is larger or not a number.
    """
    allowed = TOLERANCE[precision] * difference.scale
    if not difference.largest <= allowed:
        raise InputError(
            f"{what} in {precision} differs from the network by {difference.largest:.2g} on logits up to "
            f"{difference.scale:.2g}; at most {allowed:.2g} is accepted. Nothing was written; choose another precision"
            + (" or other calibration images" if precision == "int8" else "")
        )
