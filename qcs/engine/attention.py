"""Where a network looks in a face: its cross-similarity attention, averaged over many comparisons."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config

from qcs.data import eval_transform
from qcs.data.dataset import LabelledImages
from qcs.models import CrossSimilarityNetwork
from qcs.samplers import PairSampler, QuadrupletSampler


def mean_attention(
    model: CrossSimilarityNetwork, faces: LabelledImages, batch_size: int = 20, epochs: int = 6
) -> npt.NDArray[np.float32]:
    """Cross-similarity attention of each face, averaged over comparisons with the others.

    One comparison shows what two particular images share; the mean shows where a network looks in a face.

    Args:
        model: Network with two or four branches, on the CPU.
        faces: Images with the network's classes; at least two of each class that is present.
        batch_size: Anchors compared at a time.
        epochs: How often each face is an anchor; it is a companion about as often on every other branch.

    Returns:
        Attention (levels, n, N) over each level's tokens.
    """
    prepared = faces.with_transform(eval_transform(resolve_model_data_config(model)))
    images = torch.stack([prepared[row][0] for row in range(len(faces))])
    draw = QuadrupletSampler if model.branches == 4 else PairSampler
    sampler = draw(faces.labels, batch_size=batch_size, drop_last=False)
    model = model.eval()
    total, seen = torch.zeros(()), torch.zeros(len(faces))
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for indices in sampler:
            with torch.inference_mode():
                out = model(*images[indices].chunk(model.branches), return_attention=True)
            by_face = torch.zeros(len(out.attention), len(faces), out.attention.shape[-1])
            total = total + by_face.index_add(1, torch.tensor(indices), out.attention.flatten(1, 2))
            seen = seen.index_add(0, torch.tensor(indices), torch.ones(len(indices)))
    mean: npt.NDArray[np.float32] = (total / seen[:, None]).numpy()
    return mean
