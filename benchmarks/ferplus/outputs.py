"""Compute the outputs of the weights in the package once and keep them: all later measures read the same numbers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config
from torch.utils.data import DataLoader

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.looks import look
from qcs.data import LabeledImages, eval_transform
from qcs.files import replacing, sha256
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.models.weights import find_weights

BATCH = 64
SETS = ("validation", "test", "muxspace")
Array = npt.NDArray[np.float32]


def sets(data: Data, model: CrossSimilarityNetwork) -> dict[str, LabeledImages]:
    """Return the images of every measured set by name, labeled in the order of the network's classes."""
    found = {name: data.official[name] for name in SETS[:2]} | {"muxspace": data.muxspace}
    return {name: images.with_classes(model.class_names) for name, images in found.items()}


def logits(data: Data, cache: Path, results: Path, command: str) -> dict[str, Array]:
    """Return the uncalibrated logits (n, classes) of the shipped network for every set, from the cache if it has them.

    Args:
        data: The images.
        cache: Folder of the cache; its file is named after the hash of the tensors' file.
        results: Folder of the log of looks at the test set.
        command: What asks, for that log.
    """
    weights = find_weights("qcs_small")
    model = load_model(weights)
    kept = cache / f"logits-{tensor_hash(model)}.npz"
    if not kept.exists():
        with look(
            results, command, sha256(weights), "logits of validation, test and muxspace, kept in a cache"
        ) as seen:
            found = {name: forward(model, images) for name, images in sets(data, model).items()}
            seen["images"] = {name: len(each) for name, each in found.items()}
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, **cast(Any, found))
    with np.load(kept, allow_pickle=False) as file:
        return {name: file[name] for name in SETS}


@torch.inference_mode()
def forward(model: CrossSimilarityNetwork, images: LabeledImages) -> Array:
    """Return the logits (n, classes) of the base network."""
    batches = DataLoader(images.with_transform(eval_transform(resolve_model_data_config(model))), BATCH)
    return torch.cat([model(batch).float() for batch, _ in batches]).numpy()


def tensor_hash(model: CrossSimilarityNetwork) -> str:
    """Return a hash of the weights of a network, which does not depend on the metadata of their file."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
