"""Measure how much attention can change: the norm of attended values beside that of the tokens they are added to.

The weights of an image sum to 1 over its tokens, so each value is multiplied by about 1 / N before it is added.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.data import resolve_model_data_config

from benchmarks.ferplus.data import Data
from qcs.data import LabeledImages, eval_transform
from qcs.files import sha256, write_text
from qcs.models import CrossSimilarityNetwork, find_weights, load_model
from qcs.samplers import QuadrupletSampler

WEIGHTS = "qcs_small.ferplus"
QUADRUPLETS = 12  # compared at once, as in training


def write(data: Data, path: Path, batches: int = 10) -> dict[str, Any]:
    """Measure the shipped network on validation images and write the record.

    Args:
        data: The images.
        path: The file to write.
        batches: Number of batches of quadruplets.
    """
    model: Any = load_model(WEIGHTS)
    record = {
        "weights": WEIGHTS,
        "sha256": sha256(find_weights(WEIGHTS)),
        "images": batches * QUADRUPLETS * model.branches,
        "levels": measure(model, data.official["validation"].with_classes(model.class_names), batches),
    }
    write_text(path, json.dumps(record, indent=1) + "\n")
    return record


@torch.inference_mode()
def measure(model: CrossSimilarityNetwork, images: LabeledImages, batches: int) -> list[dict[str, float]]:
    """Measure the attention of every level in quadruplets drawn by label.

    Returns:
        For each level `largest`, the largest weight of an image in multiples of a uniform one, and `ratio`, the norm of
        the attended values divided by that of the tokens they are added to; both are means over images.
    """
    model.eval()
    transform = eval_transform(resolve_model_data_config(model))
    modules: list[Any] = list(model.cross_modules)
    found: list[list[tuple[float, float]]] = [[] for _ in modules]
    for _, rows in zip(range(batches), QuadrupletSampler(images.labels, QUADRUPLETS, seed=0), strict=False):
        tokens = model.forward_features(torch.stack([transform(images.image(row)) for row in rows]))[:, 1:]
        levels = tokens.chunk(len(found), dim=1)
        for level, module, of_level in zip(levels, modules, found, strict=True):
            normed: Any = module.norm1(level)
            attended, weights = module.attention(*normed.chunk(model.branches), return_attention=True)
            largest = torch.cat(weights).amax(1).mean() * level.shape[1]
            ratio = torch.cat(attended).norm(dim=-1).mean() / normed.norm(dim=-1).mean()
            of_level.append((float(largest), float(ratio)))
    means = [np.mean(of_level, axis=0) for of_level in found]
    return [{"largest": float(largest), "ratio": float(ratio)} for largest, ratio in means]
