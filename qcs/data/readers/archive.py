"""Read an .npz archive of pixels with labels or crowd votes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qcs.data.labels import CLASSES
from qcs.data.readers.table import Table
from qcs.data.votes import decide
from qcs.errors import InputError

LAYOUT = (
    "images (n, H, W) or (n, H, W, 3), uint8",
    "votes (n, 10) or labels (n,), integers or names",
    "optional: split (n,), names (n,), subjects (n,), classes",
)
_ARRAYS = ("images", "votes", "labels", "split", "names", "subjects", "classes")


def read_archive(path: Path, votes: str) -> Table:
    """Read an archive; votes become labels by the rule, and images without a label are dropped.

    Raises:
        InputError: Arrays are missing, unreadable or of different lengths.
    """
    stored, arrays = _load_arrays(path)
    if "images" not in arrays or ("votes" in arrays) == ("labels" in arrays):
        raise InputError(
            f"{path} holds {', '.join(stored) or 'nothing'}; expected images and one of votes and labels "
            f"(optional: split, names, classes)"
        )
    count = len(arrays["images"])
    for name in arrays.keys() - {"images", "classes"}:
        if len(arrays[name]) != count:
            raise InputError(f"{path}: {name} has {len(arrays[name]):,} rows; expected {count:,}, as many as images")
    texts = {name: _texts(path, name, arrays[name]) for name in arrays.keys() - {"images", "votes"}}
    columns: dict[str, Any] = {
        "names": texts.get("names"),
        "splits": texts.get("split"),
        "subjects": texts.get("subjects"),
    }
    if "votes" in arrays:
        return with_votes(Table(path, arrays["images"], [""] * count, **columns), arrays["votes"], votes)
    classes = tuple(texts["classes"]) if "classes" in texts else None
    return Table(path, arrays["images"], texts["labels"], **columns, classes=classes)


def with_votes(table: Table, votes: npt.ArrayLike, rule: str) -> Table:
    """Label the images of a table by their FERPlus votes, and drop images without a label.

    Raises:
        InputError: Votes are not ten non-negative integers for each image, or the rule is unknown.
    """
    try:
        decision = decide(votes, rule)
    except InputError as error:
        raise InputError(f"{table.source}: {error}") from error
    classes = CLASSES["ferplus"]
    labels = [
        classes[label] for label in decision.labels
    ]  # index -1 gives a wrong name, but those images are dropped below
    labeled = replace(table, labels=labels, classes=classes, dataset="ferplus", voted=True, soft=decision.soft)
    undecided = int((decision.labels < 0).sum())
    return labeled.keep(decision.labels >= 0, {f"no label by the rule {rule}": undecided} if undecided else {})


def _load_arrays(path: Path) -> tuple[list[str], dict[str, npt.NDArray[Any]]]:
    """Return the names of all arrays in the archive, and the arrays that this format uses."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive.files, {name: np.atleast_1d(archive[name]) for name in _ARRAYS if name in archive}
    except Exception as error:  # corrupt archives raise zip, zlib, OS and value errors
        raise InputError(f"cannot read {path} as an .npz archive of plain arrays: {error}") from error


def _texts(path: Path, name: str, array: npt.NDArray[Any]) -> list[str]:
    valid = array.ndim == 1 and array.dtype.kind in "iuU" and _is_unicode(array)
    values = [str(value).strip() for value in array.tolist()] if valid else [""]
    if "" in values:
        raise InputError(
            f"{path}: {name} is {array.dtype} of shape {array.shape}; expected one integer or name per row, "
            f"none of them empty"
        )
    return values


def _is_unicode(array: npt.NDArray[Any]) -> bool:
    """Check for valid characters: NumPy accepts any four bytes as one, but Python does not."""
    if array.dtype.kind != "U":
        return True
    characters = np.frombuffer(array.tobytes(), dtype=np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    surrogates = (characters >= 0xD800) & (characters < 0xE000)
    return not (surrogates | (characters > 0x10FFFF)).any()
