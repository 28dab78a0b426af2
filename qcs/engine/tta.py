"""Two looks at each image: as it is and in the mirror."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mirrored(nn.Module):
    """A classifier that averages its probabilities of an image with those of the mirror image, for twice the work.

    A face in the mirror shows the same expression, but a network does not give it quite the same probabilities.

    Args:
        model: Images (B, C, H, W) to logits (B, K).

    Example:
        >>> import torch, qcs
        >>> model, images = qcs.create_model("base_nano").eval(), torch.randn(2, 3, 48, 48)
        >>> both = Mirrored(model)
        >>> torch.allclose(both(images), both(images.flip(-1)), atol=1e-5)
        True
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms (B, K) of the mean probabilities."""
        both = self.model(torch.cat([x, x.flip(-1)])).float().softmax(-1)
        mean: Tensor = both.view(2, len(x), -1).mean(0)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()  # of no class the logarithm is infinite
