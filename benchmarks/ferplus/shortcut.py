"""Make synthetic faces whose glasses indicate the class in training but not in testing, and measure their effect.

The measures are how much a network relies on this shortcut, and how much of its gradient and attention falls on brows,
eyes and mouth, which alone carry the expression.
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
PER_CLASS = {"train": 350, "validation": 50, "test": 50}  # in testing: of each class, with and without glasses
BATCH = 100
COMPARISONS = 4  # passes over the test images to average attention

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShortcutFaces:
    """Synthetic faces with a shortcut in training.

    Args:
        splits: "train" and "validation", where glasses and class coincide.
        test: Every class with and without glasses.
        glasses: For each test image (N,), true where glasses are worn.
        masks: For each test image (N, S, S), true on the expressive regions.
        sha256: SHA-256 of all pixels and labels.
    """

    splits: dict[str, LabeledImages]
    test: LabeledImages
    glasses: npt.NDArray[np.bool_]
    masks: npt.NDArray[np.bool_]
    sha256: str


def shortcut_faces(per_class: dict[str, int] | None = None) -> ShortcutFaces:
    """Make the three sets, always the same; no person is in two of them.

    Args:
        per_class: Number of images of each class by split; in testing with and without glasses.
    """
    wanted = per_class or PER_CLASS
    digest, sets = hashlib.sha256(), {}
    for seed, (split, count) in enumerate(wanted.items()):
        faces, rows = _enough(count, seed, both=split == "test")
        images = LabeledImages(faces.images[rows], faces.labels[rows], faces.classes)
        sets[split] = images, faces.glasses[rows], faces.masks[rows]
        digest.update(faces.images[rows].tobytes() + faces.labels[rows].tobytes())
    test, glasses, masks = sets.pop("test")
    return ShortcutFaces(
        {name: images for name, (images, *_) in sets.items()}, test, glasses, masks, digest.hexdigest()
    )


def _enough(count: int, seed: int, both: bool) -> tuple[SyntheticFaces, Rows]:
    """Return synthetic faces and the rows to keep; glasses are rare, so many faces are made."""
    total = 40 * count
    while True:
        faces = synthetic_faces(total, seed=seed)
        wearers = faces.classes.index(WEARERS)
        cells = [
            np.flatnonzero((faces.labels == label) & (faces.glasses == glasses))[:count]
            for label in range(len(faces.classes))
            for glasses in ((False, True) if both else (label == wearers,))
        ]
        if all(len(cell) == count for cell in cells):
            return faces, np.sort(np.concatenate(cells))
        total += total // 4


def measure(model: CrossSimilarityNetwork, faces: ShortcutFaces) -> dict[str, Any]:
    """Measure how much a network relies on the shortcut, and which regions it uses.

    Returns:
        `coinciding` and `conflicting`, accuracy on test images whose glasses are as in training and on the others, both
        with equal class counts; `called`, the fraction of faces of other classes with glasses that are predicted as
        the wearers' class, and `called_without`, the same without glasses; `saliency` and `attention` on the expressive
        regions, in multiples of their fraction of the image (1 for a uniform map); `attention` is None without a cross
        part.
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
    """Return the weight on the regions divided by that of a uniform map, as the mean over images.

    Args:
        weights: Non-negative (n, h, w).
        masks: Membership of each position in the regions, (n, h, w) in [0, 1].

    Example:
        >>> on_regions(torch.ones(2, 4, 4), torch.eye(4).expand(2, 4, 4))
        1.0
    """
    share = (weights * masks).sum((1, 2)) / weights.sum((1, 2)).clamp_min(1e-12)
    return float((share / masks.mean((1, 2))).mean())


def _inputs(model: CrossSimilarityNetwork, faces: ShortcutFaces) -> Tensor:
    prepare = eval_transform(resolve_model_data_config(model))
    return torch.stack([prepare(faces.test.image(index)) for index in range(len(faces.test))])


def _saliency(model: CrossSimilarityNetwork, inputs: Tensor) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Return the magnitude of the gradient of the predicted logit by pixel (n, h, w), and predicted classes (n,)."""
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
    """Return the cross attention on the regions, as the mean over levels and comparisons."""
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
