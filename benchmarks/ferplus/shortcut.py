"""A shortcut: drawn faces whose glasses tell the class in training, and nothing in testing.

Measured is how much of it a network takes, and how much of what it looks at lies on brows, eyes and mouth, which alone
carry the expression.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.nn import functional as F

from qcs.data import LabeledImages, SyntheticFaces, eval_transform, synthetic_faces
from qcs.models import CrossSimilarityNetwork
from qcs.samplers import PairSampler, QuadrupletSampler

WEARERS = "anger"  # in training this class wears glasses, and no other does
PER_CLASS = {"train": 350, "validation": 50, "test": 50}  # in testing of each class with glasses and without
BATCH = 100
COMPARISONS = 4  # passes over the test images for their mean attention

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DrawnFaces:
    """Drawn faces with a shortcut in training.

    Args:
        splits: "train" and "validation", where glasses and class coincide.
        test: Every class with glasses and without.
        glasses: Of the test images (N,), true where worn.
        masks: Of the test images (N, S, S), true on the expressive regions.
        sha256: Of all pixels and labels.
    """

    splits: dict[str, LabeledImages]
    test: LabeledImages
    glasses: npt.NDArray[np.bool_]
    masks: npt.NDArray[np.bool_]
    sha256: str


def draw_faces(per_class: dict[str, int] | None = None) -> DrawnFaces:
    """Draw the three sets, no person in two of them; always the same.

    Args:
        per_class: How many of each class, by split; in testing with and without glasses.
    """
    wanted = per_class or PER_CLASS
    digest, sets = hashlib.sha256(), {}
    for seed, (split, count) in enumerate(wanted.items()):
        faces, rows = _enough(count, seed, both=split == "test")
        images = LabeledImages(faces.images[rows], faces.labels[rows], faces.classes)
        sets[split] = images, faces.glasses[rows], faces.masks[rows]
        digest.update(faces.images[rows].tobytes() + faces.labels[rows].tobytes())
    test, glasses, masks = sets.pop("test")
    return DrawnFaces({name: images for name, (images, *_) in sets.items()}, test, glasses, masks, digest.hexdigest())


def _enough(count: int, seed: int, both: bool) -> tuple[SyntheticFaces, Rows]:
    """Drawn faces, and which of them to take; glasses are rare, so many are drawn."""
    drawn = 40 * count
    while True:
        faces = synthetic_faces(drawn, seed=seed)
        wearers = faces.classes.index(WEARERS)
        cells = [
            np.flatnonzero((faces.labels == label) & (faces.glasses == glasses))[:count]
            for label in range(len(faces.classes))
            for glasses in ((False, True) if both else (label == wearers,))
        ]
        if all(len(cell) == count for cell in cells):
            return faces, np.sort(np.concatenate(cells))
        drawn += drawn // 4


def measure(model: CrossSimilarityNetwork, faces: DrawnFaces) -> dict[str, Any]:
    """How much of the shortcut the network takes, and where it looks.

    Returns:
        `coinciding` and `conflicting`, accuracy on test images whose glasses are as in training and on the others, both
        with as many of each class; `called`, the share of other classes' faces with glasses that are taken for the
        wearers', and `called_without`, the same of those without; `saliency` and `attention` on the expressive regions,
        in multiples of their share of the picture (1 for looking everywhere alike); the attention is None without
        cross part.
    """
    model = model.eval()
    inputs, labels = _inputs(model, faces), faces.test.labels
    saliency, predicted = _saliency(model, inputs)
    wearers = faces.test.classes.index(WEARERS)
    coinciding = (labels == wearers) == faces.glasses
    others = labels != wearers
    masks = torch.from_numpy(faces.masks).float()
    return {
        "images": len(labels),
        "coinciding": float((predicted == labels)[coinciding].mean()),
        "conflicting": float((predicted == labels)[~coinciding].mean()),
        "called": float((predicted == wearers)[others & faces.glasses].mean()),
        "called_without": float((predicted == wearers)[others & ~faces.glasses].mean()),
        "saliency": on_regions(saliency, masks),
        "attention": None if model.branches == 1 else _attention_on_regions(model, inputs, labels, masks),
    }


def on_regions(weights: Tensor, masks: Tensor) -> float:
    """Weight on the regions over an even spread's, the mean over images.

    Args:
        weights: Non-negative (n, h, w).
        masks: How far each place belongs to the regions, (n, h, w) in [0, 1].

    Example:
        >>> on_regions(torch.ones(2, 4, 4), torch.eye(4).expand(2, 4, 4))
        1.0
    """
    share = (weights * masks).sum((1, 2)) / weights.sum((1, 2)).clamp_min(1e-12)
    return float((share / masks.mean((1, 2))).mean())


def _inputs(model: CrossSimilarityNetwork, faces: DrawnFaces) -> Tensor:
    prepare = eval_transform(resolve_model_data_config(model))
    return torch.stack([prepare(faces.test.image(index)) for index in range(len(faces.test))])


def _saliency(model: CrossSimilarityNetwork, inputs: Tensor) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Size of the gradient (n, h, w) of the predicted class's logit by pixels, and the predicted classes (n,)."""
    sizes, classes = [], []
    for batch in torch.split(inputs, BATCH):
        pixels = batch.clone().requires_grad_()
        logits = model(pixels)
        (gradient,) = torch.autograd.grad(logits.amax(1).sum(), pixels)
        sizes.append(gradient.abs().sum(1))
        classes.append(logits.argmax(1))
    return torch.cat(sizes), torch.cat(classes).numpy()


@torch.inference_mode()
def _attention_on_regions(
    model: CrossSimilarityNetwork, inputs: Tensor, labels: npt.NDArray[np.int64], masks: Tensor
) -> float:
    """Cross attention of each level on the regions, the mean over levels and comparisons."""
    found = []
    for indices in _comparisons(model.branches, labels):
        attention = model(*inputs[indices].chunk(model.branches), return_attention=True).attention
        assert attention is not None
        for level in attention.flatten(1, 2):
            side = round(level.shape[-1] ** 0.5)
            covered = F.adaptive_avg_pool2d(masks[indices][:, None], side)[:, 0]
            found.append(on_regions(level.unflatten(-1, (side, side)), covered))
    return float(np.mean(found))


def _comparisons(branches: int, labels: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    sampler = (PairSampler if branches == 2 else QuadrupletSampler)(labels, min(20, len(labels) // branches))
    for epoch in range(COMPARISONS):
        sampler.set_epoch(epoch)
        yield from sampler
