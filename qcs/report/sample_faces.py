"""Choose the faces that figures show: random images of each class, the same for every kind of figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import eval_transform
from qcs.data.dataset import LabeledImages
from qcs.data.labels import canonical
from qcs.errors import InputError
from qcs.models import Classifier
from qcs.visualize import faces_as_seen


class SampleFaces:
    """Choose faces of each class in random order.

    Args:
        images: The images to choose from.
        anchor: Class of the anchor; None for the first class with at least two images.
        seed: Seed of the order.

    Attributes:
        images: The images to choose from.
        by_class: Positions of the images of each class, in random order; classes without images are left out.

    Example:
        >>> import numpy as np
        >>> faces = LabeledImages(np.zeros((5, 48, 48), np.uint8), [0, 1, 1, 2, 1], ["neutral", "happy", "sad"])
        >>> sample = SampleFaces(faces, anchor=None, seed=0)
        >>> sample.classes(sample.against_classes())
        ['happy', 'neutral', 'happy', 'sad']
    """

    def __init__(self, images: LabeledImages, anchor: str | None, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(images))
        found = {name: order[images.labels[order] == label].tolist() for label, name in enumerate(images.classes)}
        self.images = images
        self.by_class: dict[str, list[int]] = {name: rows for name, rows in found.items() if rows}
        self._anchor = anchor

    @property
    def anchor(self) -> str:
        """Class of the anchor, the face that others are compared with.

        Raises:
            InputError: If the class has fewer than two images, or no class has two.
        """
        pairs = [name for name, rows in self.by_class.items() if len(rows) > 1]
        if not pairs:
            raise InputError("no class has two images to compare; give data with at least two images of a class")
        if self._anchor is None:
            return pairs[0]
        name = canonical(self._anchor)
        if name not in pairs:
            count = len(self.by_class.get(name, ()))
            raise InputError(
                f"the anchor class {self._anchor!r} has {count} images; expected at least 2: choose one of "
                f"{', '.join(pairs)}"
            )
        return name

    def pair(self) -> list[int]:
        """Return the anchor and another image of its class."""
        return self.by_class[self.anchor][:2]

    def against_classes(self) -> list[int]:
        """Return the anchor, then an image of every class; for its own class, a second image."""
        return [
            self.by_class[self.anchor][0],
            *(rows[1 if name == self.anchor else 0] for name, rows in self.by_class.items()),
        ]

    def against_six(self) -> list[int]:
        """Return the anchor, then up to two more images of its class and up to four of other classes."""
        own = self.by_class[self.anchor]
        others = [rows for name, rows in self.by_class.items() if name != self.anchor]
        mixed = [rows[turn] for turn in range(4) for rows in others if turn < len(rows)]
        return [*own[:3], *mixed[:4]]

    def some_of_each(self, count: int, least: int = 1) -> list[int]:
        """Return up to `count` images of each class that has at least `least`, class by class."""
        return [row for rows in self.by_class.values() if len(rows) >= least for row in rows[:count]]

    def some(self, count: int) -> list[int]:
        """Return about `count` images, of each class in proportion."""
        share = min(1.0, count / len(self.images))
        return [row for rows in self.by_class.values() for row in rows[: max(1, round(share * len(rows)))]]

    def classes(self, rows: Sequence[int]) -> list[str]:
        """Return the class name of each image."""
        return [self.images.classes[label] for label in self.images.labels[list(rows)]]

    def prepared(self, model: Classifier, rows: Sequence[int]) -> Tensor:
        """Return the images as network input (n, C, H, W), on the device of the network."""
        transform = eval_transform(resolve_model_data_config(model))
        tensors = [transform(self.images.image(row)) for row in rows]
        return torch.stack(tensors).to(next(model.parameters()).device)

    def seen(self, model: Classifier, rows: Sequence[int]) -> npt.NDArray[np.uint8]:
        """Return the images as RGB pixels (n, S, S, 3), cropped as for the network, to draw maps over."""
        return faces_as_seen([self.images.image(row) for row in rows], resolve_model_data_config(model)["crop_pct"])

    def facts(self, rows: Sequence[int]) -> list[dict[str, str]]:
        """Return name and class of each image, for JSON."""
        names = [str(self.images.names[row]) for row in rows]
        return [{"image": name, "class": label} for name, label in zip(names, self.classes(rows), strict=True)]
