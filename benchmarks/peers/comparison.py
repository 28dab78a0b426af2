"""Compare the answers of libraries on the same images, among the classes that all of them have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.ferplus.estimates import chosen, estimates
from benchmarks.peers.environment import Answer
from qcs.data import LabeledImages, canonical
from qcs.engine.prediction_file import Predictions


def shared_classes(answers: Sequence[Answer], images: LabeledImages) -> tuple[str, ...]:
    """Return the classes of the images that every library has, in the order of the images."""
    known = [{canonical(str(name)) for name in answer["classes"]} for answer in answers]
    return tuple(name for name in images.classes if all(name in own for own in known))


def predictions(answer: Answer, images: LabeledImages, classes: tuple[str, ...]) -> Predictions:
    """Return the predictions of a library for the images of these classes, with probabilities among these classes."""
    own = np.isin(images.labels, [images.classes.index(name) for name in classes])
    place = {canonical(str(name)): column for column, name in enumerate(answer["classes"])}
    found = answer["probabilities"][own][:, [place[name] for name in classes]].astype(np.float64) + 1e-12
    labels = np.array([classes.index(images.classes[label]) for label in images.labels[own]])
    subjects = None if images.subjects is None else images.subjects[own]
    probabilities = (found / found.sum(1, keepdims=True)).astype(np.float32)
    return Predictions(probabilities, labels, images.names[own], classes, subjects)


def compared(
    answers: Mapping[str, Answer], images: LabeledImages, parts: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, dict[str, Any]]:
    """Return the figures of every library on each part of the images.

    Args:
        answers: Answers for all images by library.
        images: The images with their labels.
        parts: Which images belong to a part, (n,), by name.

    Returns:
        By part and library, what `estimates` returns; all have the same images.
    """
    classes = shared_classes(list(answers.values()), images)
    own = np.isin(images.labels, [images.classes.index(name) for name in classes])
    shown = {name: predictions(answer, images, classes) for name, answer in answers.items()}
    return {
        part: {name: estimates(chosen(found, inside[own])) for name, found in shown.items()}
        for part, inside in parts.items()
    }
