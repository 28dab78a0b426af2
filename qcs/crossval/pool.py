"""Read all images of a data set as one pool, with their official splits and with groups that belong together."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.data import LabeledImages, merge
from qcs.data.manifest import manifest
from qcs.data.readers import load
from qcs.data.readers.table import datasets
from qcs.errors import InputError

FILM = r"([^/]+)_\d{9}_\d{8}\.\w+$"
"""The film in a file name of SFEW 2.0, as in `Airheads_000519240_00000005.png`: its frames show the same people."""


@dataclass(frozen=True)
class Pool:
    """All images of a data set in one order, that of its reader: training, validation, test.

    Attributes:
        images: The images.
        official: Official split of each image, `"train"`, `"validation"` or `"test"`, (n,); None without splits.
        groups: Number of the group of each image, (n,): images of one group never lie on both sides of a split of the
            honest protocol. See `groups_of`.
        about: What a result states about the data: name, hashes, counts, how it is grouped.
    """

    images: LabeledImages
    official: npt.NDArray[np.str_] | None
    groups: npt.NDArray[np.int64]
    about: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


def read_pool(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    image_root: str | os.PathLike[str] | None = None,
    votes: str | None = None,
    classes: Sequence[str] | None = None,
    group_pattern: str | None = None,
    limit: int | None = None,
) -> Pool:
    """Read a data set as one pool.

    Args:
        path: As for `qcs.data.read`.
        format: As for `qcs.data.read`.
        image_root: As for `qcs.data.read`.
        votes: As for `qcs.data.read`; the rule holds for all images.
        classes: As for `qcs.data.read`.
        group_pattern: Regular expression with one group; images whose names match with the same text belong together.
            Default: the film for SFEW 2.0, else none.
        limit: About so many images at most, drawn at random from each official split and class in proportion, always
            the same ones. For trials on a small machine.

    Returns:
        The pool. Its `about` has the hashes of the files (`sha256`) and of the images with their labels, as read
        (`content_sha256`), and under `remarks` what the reader remarks.

    Raises:
        InputError: As for `qcs.data.read`; or the pattern is no regular expression with one group, or the limit is
            below 1.
    """
    found, table = load(path, image_root, format=format, votes=votes)
    splits = datasets(table, classes)
    images = merge(splits)
    official = np.repeat(list(splits), [len(part) for part in splits.values()]) if list(splits) != ["all"] else None
    pattern = FILM if group_pattern is None and found == "sfew" else group_pattern
    whole = len(images)
    if limit is not None:
        kept = _drawn(images, official, limit)
        images, official = images.subset(kept), official if official is None else official[kept]
    content = _content(images)
    return Pool(
        images,
        official,
        _joined(images, content, pattern),
        {
            "format": found,
            "sha256": manifest(path)["sha256"],
            "content_sha256": _of_all(images, content),
            "images": len(images),
            **({"drawn_from": whole} if len(images) < whole else {}),
            "classes": images.class_counts(),
            "grouped_by": _grouped_by(images, pattern),
            "copies": len(content) - len(set(content)),
            "copies_with_other_labels": _contradictions(images, content),
            "remarks": list(table.remarks),
        },
    )


def groups_of(images: LabeledImages, pattern: str | None = None) -> npt.NDArray[np.int64]:
    """Return the group of each image: images that share a subject, a copy or a part of their name.

    Copies are files, or arrays of pixels, of equal content; several faces in one picture are copies too. Groups that
    share an image are one group.

    Args:
        images: The images.
        pattern: Regular expression with one group, searched in the name of each image; for a name without a match it
            says nothing.

    Returns:
        Numbers of groups from 0, (n,).

    Raises:
        InputError: If the pattern is no regular expression with one group, or an image cannot be read.

    Example:
        >>> pixels = np.zeros((4, 8, 8), np.uint8)
        >>> pixels[1:] = np.arange(3)[:, None, None]
        >>> faces = LabeledImages(pixels, [0, 0, 1, 1], ["happy", "sad"], names=["a1", "a2", "b1", "b2"])
        >>> groups_of(faces).tolist(), groups_of(faces, "(.)").tolist()
        ([0, 0, 1, 2], [0, 0, 1, 1])
    """
    return _joined(images, _content(images), pattern)


def _joined(images: LabeledImages, content: Sequence[bytes], pattern: str | None) -> npt.NDArray[np.int64]:
    """The connected components of the graph of images and what they share."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    columns: list[Sequence[Any]] = [content]
    if images.subjects is not None:
        columns.append(images.subjects.tolist())
    if pattern is not None:
        columns.append(_parts(images, pattern))
    count = len(images)
    rows, shared, first = [], [], count
    for column in columns:
        has = np.array([key is not None for key in column])
        keys = np.unique([key for key in column if key is not None], return_inverse=True)[1]
        rows.append(np.flatnonzero(has))
        shared.append(keys + first)
        first += int(keys.max(initial=-1)) + 1
    edges = np.concatenate(rows), np.concatenate(shared)
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(first, first))
    return connected_components(graph, directed=False)[1][:count].astype(np.int64)


def _parts(images: LabeledImages, pattern: str) -> list[str | None]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"the group pattern {pattern!r} is no regular expression: {error}") from error
    if compiled.groups != 1:
        raise InputError(f"the group pattern {pattern!r} has {compiled.groups} groups; expected one, in brackets")
    found = [compiled.search(name) for name in images.names.tolist()]
    if not any(found):
        raise InputError(
            f"the group pattern {pattern!r} matches none of the {len(found):,} names, first: {images.names[0]}"
        )
    return [match and match[1] for match in found]


def _content(images: LabeledImages) -> list[bytes]:
    """A hash per image, of its file or of its pixels; that of a file is computed once."""
    files: dict[str, bytes] = {}
    found = []
    for image in images.images:
        if isinstance(image, str):
            if image not in files:
                files[image] = _of_file(image)
            found.append(files[image])
        else:
            found.append(hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest())
    return found


def _of_file(path: str) -> bytes:
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError as error:
        raise InputError(f"cannot read the image {path}: {error.strerror or error}") from error


def _of_all(images: LabeledImages, content: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for image, label in zip(content, images.labels.tolist(), strict=True):
        digest.update(image + images.classes[label].encode())
    return digest.hexdigest()


def _contradictions(images: LabeledImages, content: Sequence[bytes]) -> int:
    """Images that have a copy with another label."""
    labels: dict[bytes, set[int]] = {}
    for image, label in zip(content, images.labels.tolist(), strict=True):
        labels.setdefault(image, set()).add(label)
    return sum(len(labels[image]) > 1 for image in content)


def _grouped_by(images: LabeledImages, pattern: str | None) -> list[str]:
    known = ["subjects"] if images.subjects is not None else []
    return [*known, *([f"names ({pattern})"] if pattern else []), "copies"]


def _drawn(images: LabeledImages, official: npt.NDArray[np.str_] | None, limit: int) -> npt.NDArray[np.int64]:
    """Positions of about `limit` images, in order; every class of every split keeps its share, at least one image."""
    if limit < 1:
        raise InputError(f"the limit is {limit} images; expected at least 1")
    if limit >= len(images):
        return np.arange(len(images))
    generator = np.random.default_rng(0)
    split = np.zeros(len(images), np.int64) if official is None else np.unique(official, return_inverse=True)[1]
    stratum = split * len(images.classes) + images.labels
    chosen = []
    for each in np.unique(stratum):
        rows = np.flatnonzero(stratum == each)
        chosen.append(generator.permutation(rows)[: max(1, round(limit * len(rows) / len(images)))])
    return np.sort(np.concatenate(chosen))
