"""Detect faces, align and crop them, also in whole folders, and annotate pictures.

Face detection and reading videos need the extra: `pip install 'qcs-fer[faces]'`. The rest works without it.
"""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.faces.alignment import CROPS as CROPS
    from qcs.faces.alignment import align as align
    from qcs.faces.alignment import similarity as similarity
    from qcs.faces.alignment import template as template
    from qcs.faces.annotation import annotate as annotate
    from qcs.faces.face import LANDMARKS as LANDMARKS
    from qcs.faces.face import Face as Face
    from qcs.faces.face import FaceDetector as FaceDetector
    from qcs.faces.folder import align_folder as align_folder
    from qcs.faces.media import Picture as Picture
    from qcs.faces.media import pictures as pictures
    from qcs.faces.mtcnn import MTCNN as MTCNN
    from qcs.faces.mtcnn import detect as detect
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "CROPS": "alignment",
            "align": "alignment",
            "similarity": "alignment",
            "template": "alignment",
            "annotate": "annotation",
            "LANDMARKS": "face",
            "Face": "face",
            "FaceDetector": "face",
            "align_folder": "folder",
            "Picture": "media",
            "pictures": "media",
            "MTCNN": "mtcnn",
            "detect": "mtcnn",
        },
        extra="faces",
    )
