"""Hold labeled images, in memory or on disk, as a torch dataset."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from qcs.data.images import open_image
from qcs.data.labels import canonical, class_indices
from qcs.errors import InputError

Transform = Callable[[Image.Image], Tensor]
Pixels = npt.NDArray[np.uint8]


class LabeledImages(Dataset[tuple[Any, int]]):
    """Images with one class label each, from an array or from files.

    Copies made by `subset`, `with_transform` and `with_classes` share the pixels with the original.

    Args:
        images: Pixels of shape (n, H, W) or (n, H, W, 3), uint8; or a sequence of n images, each an array (H, W) or
            (H, W, 3), uint8, or the path of a file, which is opened on access.
        labels: Class indices, 0 to len(classes) - 1, shape (n,).
        classes: Class names in index order; stored as canonical names.
        names: Name of each image in reports, shape (n,). Default: its path or index.
        transform: Applied to an image on indexing; None returns the image unchanged.
        soft: Soft targets in [0, 1], shape (n, len(classes)).
        subjects: The person on each image, shape (n,).
        boxes: Crop of each image in pixels: left, top, right, bottom, the last two exclusive, shape (n, 4).

    Attributes:
        images: Pixels or path of each image.
        labels: Class indices, int64, shape (n,).
        classes: Canonical class names in index order.
        names: Name of each image, shape (n,).
        transform: See above.
        soft: float32, or None.
        subjects: Names, or None if unknown.
        boxes: int64, or None for whole images.

    Raises:
        InputError: Arrays of another shape or type, different lengths, a label out of range, or repeated class names.

    Example:
        >>> import numpy as np
        >>> faces = LabeledImages(np.zeros((3, 48, 48), np.uint8), [0, 1, 1], ["Happiness", "Anger"])
        >>> len(faces), faces.class_counts()
        (3, {'happy': 1, 'anger': 2})
        >>> image, label = faces[2]
        >>> image.size, label
        ((48, 48), 1)
    """

    def __init__(
        self,
        images: Pixels | Sequence[Pixels | str | os.PathLike[str]],
        labels: npt.ArrayLike,
        classes: Sequence[str],
        *,
        names: Sequence[str] | npt.NDArray[np.str_] | None = None,
        transform: Transform | None = None,
        soft: npt.ArrayLike | None = None,
        subjects: Sequence[str] | npt.NDArray[np.str_] | None = None,
        boxes: npt.ArrayLike | None = None,
    ) -> None:
        self.images: list[Pixels | str] = [_stored(image) for image in images]
        self.classes = _unique([canonical(name) for name in classes])
        self.names = _names(self.images, names)
        self.labels = _labels(labels, self.classes, self.names)
        self.transform = transform
        self.soft = None if soft is None else _targets(soft, (len(self), len(self.classes)))
        self.subjects = None if subjects is None else _per_image("subjects", subjects, np.str_, (len(self),))
        self.boxes = None if boxes is None else _boxes(boxes, self.names)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return the image, transformed if there is a transform, and its class index."""
        image = self.image(index)
        return (image if self.transform is None else self.transform(image)), int(self.labels[index])

    def image(self, index: int) -> Image.Image:
        """Return the image without transform: grayscale ("L") or color ("RGB"), as stored.

        Raises:
            InputError: The file is missing, truncated, empty or not an image, or the box lies outside the image.
        """
        stored = self.images[index]
        image = open_image(stored) if isinstance(stored, str) else Image.fromarray(stored)
        return image if self.boxes is None else _cropped(image, self.boxes[index].tolist(), self.names[index])

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class, in class order."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def subset(self, indices: npt.ArrayLike) -> LabeledImages:
        """Return the images at these positions, in this order.

        Args:
            indices: Positions, shape (m,), or a boolean mask, shape (n,).
        """
        rows = np.arange(len(self))[np.asarray(indices, dtype=None if np.size(indices) else np.int64)]
        chosen = copy.copy(self)
        chosen.images = [self.images[row] for row in rows]
        for name in ("labels", "names", "soft", "subjects", "boxes"):
            array = getattr(self, name)
            setattr(chosen, name, None if array is None else array[rows])
        return chosen

    def with_transform(self, transform: Transform | None) -> LabeledImages:
        """Return the same images with another transform."""
        changed = copy.copy(self)
        changed.transform = transform
        return changed

    def with_classes(self, classes: Sequence[str]) -> LabeledImages:
        """Return the images relabeled by name in another class order, such as that of a trained model.

        Images of other classes are dropped. Soft targets drop the other classes and are normalized again if they summed
        to one.

        Args:
            classes: Class names in the new index order.

        Raises:
            InputError: No image is left, or a class is repeated.

        Example:
            >>> import numpy as np
            >>> faces = LabeledImages(np.zeros((2, 48, 48), np.uint8), [0, 1], ["contempt", "anger"])
            >>> faces.with_classes(["neutral", "anger"]).labels.tolist()
            [1]
        """
        target = _unique([canonical(name) for name in classes])
        position = np.array([-1 if i is None else i for i in class_indices(self.classes, target)], dtype=np.int64)
        labels = position[self.labels]
        if not (labels >= 0).any():
            raise InputError(
                f"none of the {len(self):,} images has a wanted class: they are labeled {', '.join(self.classes)}; "
                f"wanted {', '.join(target)}; give the data's labels these names"
            )
        relabeled = self.subset(labels >= 0)
        relabeled.labels, relabeled.classes = labels[labels >= 0], target
        if relabeled.soft is not None:
            relabeled.soft = _renamed(relabeled.soft, class_indices(target, self.classes))
        return relabeled


def _cropped(image: Image.Image, box: tuple[int, int, int, int], name: str) -> Image.Image:
    """Crop the part of the box inside the image: boxes of detectors may exceed it."""
    left, top, right, bottom = max(box[0], 0), max(box[1], 0), min(box[2], image.width), min(box[3], image.height)
    if left >= right or top >= bottom:
        raise InputError(
            f"the box {box} (left, top, right, bottom) of {name} lies outside its image of {image.width}x"
            f"{image.height} pixels; correct the box or leave it out of the data"
        )
    return image.crop((left, top, right, bottom))


def _renamed(soft: npt.NDArray[np.float32], columns: Sequence[int | None]) -> npt.NDArray[np.float32]:
    """Reorder soft targets; `columns` holds the old column of each new class."""
    absent = np.zeros(len(soft), dtype=np.float32)
    kept = np.stack([absent if column is None else soft[:, column] for column in columns], axis=1)
    shares = np.isclose(soft.sum(axis=1), 1) & (kept.sum(axis=1) > 0)
    kept[shares] /= kept[shares].sum(axis=1, keepdims=True)
    return kept


def _stored(image: Pixels | str | os.PathLike[str]) -> Pixels | str:
    if isinstance(image, str):  # first, because lists may hold a million paths
        return image
    if isinstance(image, os.PathLike):
        return os.fspath(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or 0 in image.shape:
        raise InputError(
            f"an image is {image.dtype} of shape {image.shape}; expected uint8 of shape (H, W) or (H, W, 3)"
        )
    return image


def _unique(classes: Sequence[str]) -> tuple[str, ...]:
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f"class names are {', '.join(classes) or 'missing'}; expected at least one, each once")
    return tuple(classes)


def _per_image(what: str, values: npt.ArrayLike, dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = np.asarray(values, dtype=dtype)
    if array.shape != shape:
        raise InputError(f"{what} have shape {array.shape}; expected {shape}")
    return array


def _targets(soft: npt.ArrayLike, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    array = _per_image("soft targets", soft, np.float32, shape)
    if not ((array >= 0) & (array <= 1)).all():
        raise InputError("soft targets are not all in [0, 1]; expected the target of each class")
    return array


def _boxes(boxes: npt.ArrayLike, names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    array = _per_image("boxes", boxes, np.int64, (len(names), 4))
    empty = np.flatnonzero((array[:, 0] >= array[:, 2]) | (array[:, 1] >= array[:, 3]))
    if empty.size:
        row = empty[0]
        raise InputError(
            f"the box {array[row].tolist()} of {names[row]} (row {row}) is empty; expected left, top, right, bottom"
        )
    return array


def _names(images: Sequence[Pixels | str], names: Sequence[str] | npt.NDArray[np.str_] | None) -> npt.NDArray[np.str_]:
    if names is None:
        names = [image if isinstance(image, str) else str(row) for row, image in enumerate(images)]
    array = np.asarray(names, dtype=np.str_)
    if array.shape != (len(images),):
        raise InputError(f"names have shape {array.shape}; expected one for each of the {len(images):,} images")
    return array


def _labels(labels: npt.ArrayLike, classes: Sequence[str], names: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    array = np.asarray(labels)
    if array.shape != names.shape:
        raise InputError(f"labels have shape {array.shape}; expected one for each of the {len(names):,} images")
    if array.size and array.dtype.kind not in "iu":
        raise InputError(f"labels are {array.dtype}; expected whole numbers, indices into {', '.join(classes)}")
    array = array.astype(np.int64)
    wrong = np.flatnonzero((array < 0) | (array >= len(classes)))
    if wrong.size:
        row = wrong[0]
        raise InputError(
            f"label {array[row]} of image {names[row]} (row {row}) is out of range: expected 0 to {len(classes) - 1} "
            f"({', '.join(classes)})"
        )
    return array
