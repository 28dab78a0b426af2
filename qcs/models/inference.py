"""The base network as it runs fastest in PyTorch: one branch, batch norm folded, channels last, bfloat16 if wanted."""

from __future__ import annotations

from typing import Literal

import torch

from qcs.models.fold import fold_batch_norm
from qcs.models.network import CrossSimilarityNetwork

Precision = Literal["fp32", "bf16"]
IMAGE_SIDE = 32


def fast_inference_model(model: CrossSimilarityNetwork, precision: Precision = "fp32") -> CrossSimilarityNetwork:
    """A copy that classifies single images faster; it cannot be trained, and loads no weights any more.

    Args:
        model: A network of any number of branches.
        precision: `"fp32"` gives the same logits up to rounding. `"bf16"` computes in bfloat16, which changes logits by
            about a hundredth of their size, and takes images of that type.

    Returns:
        The copy, in evaluation mode.

    Example:
        >>> import qcs, torch
        >>> from qcs.models import fast_inference_model
        >>> model = qcs.create_model("qcs_nano").eval()
        >>> images = torch.randn(2, 3, 48, 48)
        >>> with torch.inference_mode():
        ...     torch.allclose(fast_inference_model(model)(images), model(images), atol=1e-4)
        True
    """
    fast = model.inference_model().eval().requires_grad_(False)
    side = fast.img_size or IMAGE_SIDE  # a backbone that resamples takes any
    fold_batch_norm(fast, fast.base.cls_token.new_zeros(2, fast.model_args["in_chans"], side, side))
    if precision == "bf16":
        fast.to(torch.bfloat16)
    return fast.to(memory_format=torch.channels_last)
