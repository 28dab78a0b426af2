"""Classifying photographs of faces with nothing but a weights file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import resolve_model_data_config

from qcs.data import eval_transform
from qcs.data.dataset import open_image
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork

BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """What a network sees in one image.

    Attributes:
        path: The image file.
        probabilities: Probability of every class by name, in [0, 1], summing to 1.
    """

    path: str
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {"path": self.path, "label": self.label, "probabilities": self.probabilities}


def predict(
    model: CrossSimilarityNetwork,
    paths: Sequence[str | Path],
    device: torch.device | str = "cpu",
    on_unreadable: Callable[[InputError], None] | None = None,
) -> Iterator[Prediction]:
    """Classify image files that each show one face.

    Args:
        model: The network; its `pretrained_cfg` says how images are prepared and what the classes are called.
        paths: Image files.
        device: Where to compute.
        on_unreadable: Called with the error of a file that is no readable image, which is then passed over; None
            raises the error.

    Yields:
        A prediction per readable file, in order.

    Raises:
        InputError: If a file is not a readable image and `on_unreadable` is None.
    """
    transform = eval_transform(resolve_model_data_config(model))
    model = model.to(device).eval()
    for start in range(0, len(paths), BATCH):
        opened = [(path, transform(image)) for path, image in _open(paths[start : start + BATCH], on_unreadable)]
        if not opened:
            continue
        images = torch.stack([image for _, image in opened]).to(device)
        with torch.inference_mode():
            probabilities = model(images).float().softmax(-1).cpu()
        for (path, _), row in zip(opened, probabilities.tolist(), strict=True):
            yield Prediction(path, dict(zip(model.class_names, row, strict=True)))


def _open(
    paths: Sequence[str | Path], on_unreadable: Callable[[InputError], None] | None
) -> Iterator[tuple[str, Image.Image]]:
    for path in paths:
        try:
            yield str(path), open_image(path)
        except InputError as error:
            if on_unreadable is None:
                raise
            on_unreadable(error)
