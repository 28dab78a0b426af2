"""Where a network looks in labeled faces: its cross-similarity attention, averaged over many comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config

from qcs import visualize
from qcs.data import eval_transform
from qcs.data.dataset import LabeledImages
from qcs.models import CrossSimilarityNetwork


def mean_attention(
    model: CrossSimilarityNetwork, faces: LabeledImages, shown: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Cross-similarity attention of some faces, averaged over comparisons with the others.

    Args:
        model: Network with two or four branches, on the CPU.
        faces: Images with the network's classes; at least two of each class that is shown.
        shown: Numbers of the faces wanted.

    Returns:
        Attention (levels, len(shown), N) over each level's tokens.

    Raises:
        InputError: If a wanted face has nothing to be compared with.
    """
    prepared = faces.with_transform(eval_transform(resolve_model_data_config(model)))
    images = torch.stack([prepared[row][0] for row in range(len(faces))])
    return visualize.mean_attention(visualize.compare(model, images), faces.labels.tolist(), shown)
