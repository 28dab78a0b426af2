"""Label tables, dataset readers and image transforms; each is imported on first use.

`qcs.models` needs only the label table, so importing this package must not import the image libraries.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcs.data.dataset import LabeledImages, open_image
    from qcs.data.labels import CLASSES, canonical, class_indices
    from qcs.data.readers import FORMATS, read
    from qcs.data.splits import hold_out, merge, subject_folds
    from qcs.data.synthetic import SyntheticFaces, synthetic_faces
    from qcs.data.transforms import Augmentation, eval_transform, train_transform
    from qcs.data.votes import decide, majority

_HOME = {
    "CLASSES": "labels",
    "canonical": "labels",
    "class_indices": "labels",
    "decide": "votes",
    "majority": "votes",
    "LabeledImages": "dataset",
    "open_image": "dataset",
    "read": "readers",
    "FORMATS": "readers",
    "hold_out": "splits",
    "merge": "splits",
    "subject_folds": "splits",
    "Augmentation": "transforms",
    "train_transform": "transforms",
    "eval_transform": "transforms",
    "SyntheticFaces": "synthetic",
    "synthetic_faces": "synthetic",
}

__all__ = [
    "CLASSES",
    "FORMATS",
    "Augmentation",
    "LabeledImages",
    "SyntheticFaces",
    "canonical",
    "class_indices",
    "decide",
    "eval_transform",
    "hold_out",
    "majority",
    "merge",
    "open_image",
    "read",
    "subject_folds",
    "synthetic_faces",
    "train_transform",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
