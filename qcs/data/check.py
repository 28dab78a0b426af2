"""Check a dataset: read every image, count classes and sizes, and find copies and near-duplicates."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from qcs.data.dataset import LabeledImages
from qcs.data.near_duplicates import NEAR, Hashed, NearDuplicate, difference_hash, near_duplicates
from qcs.data.published import differences
from qcs.data.readers import load
from qcs.data.readers.table import datasets
from qcs.data.votes import DEFAULT
from qcs.errors import InputError


@dataclass(frozen=True)
class Findings:
    """The result of a check.

    Attributes:
        source: Path of the data.
        format: Format that the data was read as.
        dataset: Name of the dataset; None if unknown.
        rule: Vote rule of the labels; None without votes.
        splits: Images by split.
        sizes: Number of images by width and height in pixels, for each split.
        remarks: A line for each finding that may need attention.
        unreadable: An error for each unreadable image.
        near: Pairs of images of different splits that are nearly equal, the most similar first, without exact copies.
    """

    source: str
    format: str
    dataset: str | None
    rule: str | None
    splits: Mapping[str, LabeledImages]
    sizes: Mapping[str, Counter[tuple[int, int]]]
    remarks: list[str]
    unreadable: list[InputError]
    near: list[NearDuplicate]


def check(
    path: str | Path, image_root: str | Path | None = None, *, format: str | None = None, votes: str | None = None
) -> Findings:
    """Check a dataset and every image in it; arguments as for `qcs.data.read`.

    Images are compared by content (pixels in an archive, bytes of a file), which finds copies under other names.
    Those of different splits are also compared by a difference hash, which finds resized and recompressed ones.

    Raises:
        InputError: As `qcs.data.read`.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "faces.npz")
        ...     np.savez(path, images=np.zeros((2, 8, 9), np.uint8), labels=["anger", "fear"], split=["train", "test"])
        ...     found = check(path)
        >>> found.sizes["test"], found.remarks
        (Counter({(9, 8): 1}), ['1 images are copies of 1 others, first: 1 of 0; of these 1 different pictures, 1 \
occur in several splits, 1 under several labels', '1 images of test have a copy in train'])
    """
    name, table = load(path, image_root, format=format, votes=votes)
    rule = (votes or DEFAULT) if table.voted else None
    splits = datasets(table, None)
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    same: dict[tuple[str, object], list[_Place]] = {}
    hashed: dict[str, list[Hashed]] = {split: [] for split in splits}
    unreadable: list[InputError] = []
    for split, images in splits.items():
        sizes[split] = Counter()
        for place, image, content in _contents(split, images, unreadable):
            sizes[split][image.size] += 1
            same.setdefault(content, []).append(place)
            if len(splits) > 1 and (found := difference_hash(image)) is not None:
                hashed[split].append(Hashed(place[1], content, found))
    near = near_duplicates(hashed)
    dropped = [f"{count:,} images left out: {reason}" for reason, count in table.dropped.items()]
    remarks = [*dropped, *table.remarks, *_copies(list(same.values())), *_resembling(near)]
    if table.dataset is not None:
        remarks += differences(table.dataset, splits, rule or DEFAULT)
    return Findings(str(path), name, table.dataset, rule, splits, sizes, remarks, unreadable, near)


_Place = tuple[str, str, int]  # split, name, label


def _contents(
    split: str, images: LabeledImages, unreadable: list[InputError]
) -> Iterator[tuple[_Place, Image.Image, tuple[str, object]]]:
    """Yield place, image and identity of every readable image."""
    for row, stored in enumerate(images.images):
        try:
            image = images.image(row)
            content = Path(stored).read_bytes() if isinstance(stored, str) else stored.tobytes()
        except InputError as error:
            unreadable.append(error)
            continue
        # Two faces of one picture are not copies, nor are equal bytes of arrays of different shapes.
        apart = image.size if images.boxes is None else tuple(images.boxes[row].tolist())
        yield (split, str(images.names[row]), int(images.labels[row])), image, (_digest(content), apart)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _copies(groups: list[list[_Place]]) -> list[str]:
    """Return remarks on images of equal content: all of them as pictures, and those across splits as images."""
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return []
    across = sum(len({split for split, _, _ in group}) > 1 for group in groups)
    differently = sum(len({label for _, _, label in group}) > 1 for group in groups)
    pictures = (
        f"{sum(map(len, groups)) - len(groups):,} images are copies of {len(groups):,} others, first: "
        f"{groups[0][1][1]} of {groups[0][0][1]}; of these {len(groups):,} different pictures, {across:,} occur in "
        f"several splits, {differently:,} under several labels"
    )
    # A later split against an earlier one: test images that are in training count, however many copies training has.
    leaked: Counter[tuple[str, str]] = Counter()
    for group in groups:
        splits = list(dict.fromkeys(split for split, _, _ in group))
        for number, later in enumerate(splits):
            images = sum(split == later for split, _, _ in group)
            leaked.update({(later, earlier): images for earlier in splits[:number]})
    return [pictures, *(f"{count:,} images of {a} have a copy in {b}" for (a, b), count in leaked.items())]


def _resembling(near: list[NearDuplicate]) -> list[str]:
    """Return a remark for each two splits with near-duplicates: numbers of images and pairs, and the nearest pair."""
    remarks = []
    for earlier, later in dict.fromkeys((pair.split, pair.other_split) for pair in near):
        pairs = [pair for pair in near if (pair.split, pair.other_split) == (earlier, later)]
        images, first = len({pair.other_name for pair in pairs}), pairs[0]
        remarks.append(
            f"{images:,} images of {later} are near-duplicates of images of {earlier} ({len(pairs):,} pairs, "
            f"difference hashes at most {NEAR} bits apart), most similar: {first.other_name} and {first.name}"
        )
    return remarks
