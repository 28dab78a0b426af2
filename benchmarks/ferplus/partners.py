"""Measure how much the cross classifier depends on partner images, which the base classifier does not see.

Quadruplets are sampled by label: the anchor comes with an image of its class and two of another class. The cross
classifier may therefore infer a class from what the images have in common. With the same images assigned at random to
quadruplets, its loss in accuracy is an upper bound of this dependence: part of the loss may come from quadruplets of a
kind that never occurred in training. A second measure compares the gradients of the cross and base losses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from timm.data import resolve_model_data_config
from torch import Tensor

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.looks import look
from benchmarks.ferplus.plan import IMAGES_PER_STEP
from qcs.data import LabeledImages, eval_transform
from qcs.engine.run_folder import RunFolder
from qcs.files import sha256, write_text
from qcs.losses import JointLoss
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.samplers import PairSampler, QuadrupletSampler

STEPS = 16  # batches whose gradients are averaged
Batch = tuple[list[Tensor], Tensor]
"""Images (B, C, H, W) of every branch and labels (branches, B)."""


def measure_partners(data: Data, results: Path, runs: Path, console: Console) -> None:
    """Measure every finished run on FERPlus that has a cross part and weights, but no file yet.

    Args:
        data: The images.
        results: Folder of the results; the files go into its folder `partners`.
        runs: Folder of the run folders.
        console: Where to print progress.
    """
    for path in sorted(results.glob("*.json")):
        record = json.loads(path.read_text())
        weights, output = RunFolder(runs / path.stem).best, results / "partners" / path.name
        if output.exists() or not weights.exists() or "ferplus.npz" not in record["data"]:
            continue
        model = load_model(weights)
        if model.branches == 1:
            continue
        with look(results, "benchmarks.ferplus partners", sha256(weights), f"{path.stem}: partner images") as seen:
            found = measure(model, data.official["test"], data.official["train"])
            seen.update(found)
        written = {"condition": record["condition"], "seed": record["seed"], "measures": found}
        write_text(output, json.dumps(written, indent=1) + "\n")
        text = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        console.print(f"{path.stem}: {text}", markup=False, highlight=False, soft_wrap=True)


def measure(model: CrossSimilarityNetwork, test: LabeledImages, train: LabeledImages) -> dict[str, float]:
    """Measure accuracy with same-class and random partners on test images, and gradients on training images.

    Args:
        model: A trained network with a cross part.
        test: Images it was not trained on.
        train: Images it was trained on; only hard labels are used.

    Returns:
        `base`, `cross` and `cross_random_partners`, accuracies over all branches in [0, 1]; `gradient_ratio`, the norm
        of the cross loss's gradient with respect to the backbone's parameters divided by that of the base loss, and
        `gradient_cosine`, the cosine between them; both use the mean gradient over some batches.
    """
    return {**accuracies(model, test), **gradients(model, train)}


def accuracies(model: CrossSimilarityNetwork, test: LabeledImages) -> dict[str, float]:
    """Return the accuracy of both classifiers in pairs or quadruplets of test images, see `measure`."""
    own = list(batches(model, test))
    return {
        "base": _accuracy(model, own, "base"),
        "cross": _accuracy(model, own, "cross"),
        "cross_random_partners": _accuracy(model, [_mixed(batch, seed) for seed, batch in enumerate(own)], "cross"),
    }


def batches(model: CrossSimilarityNetwork, images: LabeledImages) -> Iterator[Batch]:
    """Yield pairs or quadruplets sampled as in training, with the same batch size, without augmentation."""
    transform = eval_transform(resolve_model_data_config(model))
    sampler_of = QuadrupletSampler if model.branches == 4 else PairSampler
    for rows in sampler_of(images.labels, min(IMAGES_PER_STEP // model.branches, len(images)), seed=0):
        pixels = torch.stack([transform(images.image(row)) for row in rows])
        labels = torch.from_numpy(images.labels[rows])
        yield list(pixels.chunk(model.branches)), labels.view(model.branches, -1)


def _mixed(batch: Batch, seed: int) -> Batch:
    """Assign the same images at random to branches and comparisons."""
    images, labels = batch
    order = torch.from_numpy(np.random.default_rng(seed).permutation(labels.numel()))
    return list(torch.cat(images)[order].chunk(len(images))), labels.flatten()[order].view_as(labels)


@torch.inference_mode()
def _accuracy(model: CrossSimilarityNetwork, batches: list[Batch], classifier: Literal["base", "cross"]) -> float:
    model.eval()
    right = [getattr(model(*images), classifier).argmax(-1) == labels for images, labels in batches]
    return float(torch.cat([each.flatten() for each in right]).float().mean())


def gradients(model: CrossSimilarityNetwork, images: LabeledImages) -> dict[str, float]:
    """Compare the gradients of both losses with respect to the backbone: ratio of norms, and cosine."""
    model.eval()  # the running statistics stay as they are
    loss, parameters = JointLoss(), list(model.backbone.parameters())
    sums: dict[str, list[Any]] = {"base": [], "cross": []}
    for number, (branches, labels) in enumerate(batches(model, images)):
        if number == STEPS:
            break
        losses = loss(model(*branches), labels)
        for name, found in sums.items():
            found.append(torch.autograd.grad(losses[name], parameters, retain_graph=name == "base"))
    base, cross = map(_flat_mean, sums.values())
    return {
        "gradient_ratio": float(cross.norm() / base.norm()),
        "gradient_cosine": float(torch.cosine_similarity(base, cross, dim=0)),
    }


def _flat_mean(gradients: list[tuple[Tensor, ...]]) -> Tensor:
    """Return the mean of gradients of several parameters as one vector."""
    return torch.cat([torch.stack(each).mean(0).flatten() for each in zip(*gradients, strict=True)])
