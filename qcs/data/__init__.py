"""Label tables, dataset readers and image transforms; each is imported on first use.

`qcs.models` needs only the label table, so importing this package must not import the image libraries.
"""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.data.dataset import LabeledImages as LabeledImages
    from qcs.data.images import ImageLike as ImageLike
    from qcs.data.images import as_image as as_image
    from qcs.data.images import open_image as open_image
    from qcs.data.labels import CLASSES as CLASSES
    from qcs.data.labels import canonical as canonical
    from qcs.data.labels import class_indices as class_indices
    from qcs.data.readers import FORMATS as FORMATS
    from qcs.data.readers import read as read
    from qcs.data.splits import hold_out as hold_out
    from qcs.data.splits import merge as merge
    from qcs.data.splits import subject_folds as subject_folds
    from qcs.data.synthetic import SyntheticFaces as SyntheticFaces
    from qcs.data.synthetic import synthetic_faces as synthetic_faces
    from qcs.data.transforms import Augmentation as Augmentation
    from qcs.data.transforms import eval_transform as eval_transform
    from qcs.data.transforms import train_transform as train_transform
    from qcs.data.votes import decide as decide
    from qcs.data.votes import majority as majority
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "CLASSES": "labels",
            "canonical": "labels",
            "class_indices": "labels",
            "decide": "votes",
            "majority": "votes",
            "LabeledImages": "dataset",
            "ImageLike": "images",
            "as_image": "images",
            "open_image": "images",
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
        },
    )
