"""Check a dataset: read every image, count classes and sizes, and find copies."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qcs.data.dataset import LabeledImages
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
    """

    source: str
    format: str
    dataset: str | None
    rule: str | None
    splits: Mapping[str, LabeledImages]
    sizes: Mapping[str, Counter[tuple[int, int]]]
    remarks: list[str]
    unreadable: list[InputError]


def check(
    path: str | Path, image_root: str | Path | None = None, *, format: str | None = None, votes: str | None = None
) -> Findings:
    """Check a dataset and every image in it; arguments as for `qcs.data.read`.

    Images are compared by content (pixels in an archive, bytes of a file), which finds copies under other names too.

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
        (Counter({(9, 8): 1}), ['1 images are copies of 1 others, first: 1 of 0; of the 1, 1 have copies in another \
split, 1 under another label'])
    """
    name, table = load(path, image_root, format=format, votes=votes)
    rule = (votes or DEFAULT) if table.voted else None
    splits = datasets(table, None)
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    same: dict[tuple[str, object], list[_Place]] = {}
    unreadable: list[InputError] = []
    for split, images in splits.items():
        sizes[split] = Counter()
        for place, size, content in _contents(split, images, unreadable):
            sizes[split][size] += 1
            same.setdefault(content, []).append(place)
    dropped = [f"{count:,} images left out: {reason}" for reason, count in table.dropped.items()]
    remarks = [*dropped, *table.remarks, *_copies(list(same.values()))]
    if table.dataset is not None:
        remarks += differences(table.dataset, splits, rule or DEFAULT)
    return Findings(str(path), name, table.dataset, rule, splits, sizes, remarks, unreadable)


_Place = tuple[str, str, int]  # split, name, label


def _contents(
    split: str, images: LabeledImages, unreadable: list[InputError]
) -> Iterator[tuple[_Place, tuple[int, int], tuple[str, object]]]:
    """Yield place, size in pixels and identity of every readable image."""
    for row, stored in enumerate(images.images):
        try:
            size = images.image(row).size
            content = Path(stored).read_bytes() if isinstance(stored, str) else stored.tobytes()
        except InputError as error:
            unreadable.append(error)
            continue
        # Two faces of one picture are not copies, nor are equal bytes of arrays of different shapes.
        apart = size if images.boxes is None else tuple(images.boxes[row].tolist())
        yield (split, str(images.names[row]), int(images.labels[row])), size, (_digest(content), apart)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _copies(groups: list[list[_Place]]) -> list[str]:
    """Return a remark on images of equal content, if there are any."""
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return []
    across = sum(len({split for split, _, _ in group}) > 1 for group in groups)
    differently = sum(len({label for _, _, label in group}) > 1 for group in groups)
    return [
        f"{sum(map(len, groups)) - len(groups):,} images are copies of {len(groups):,} others, first: "
        f"{groups[0][1][1]} of {groups[0][0][1]}; of the {len(groups):,}, {across:,} have copies in another split, "
        f"{differently:,} under another label"
    ]
