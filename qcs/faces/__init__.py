"""Detect faces, align and crop them, also in whole folders, annotate pictures, write and read results.

Face detection and reading videos need the extra: `pip install 'qcs-fer[faces]'`. The rest works without it.
"""

from typing import TYPE_CHECKING

from qcs.imports import lazy

if TYPE_CHECKING:
    from qcs.faces.alignment import CROPS as CROPS
    from qcs.faces.alignment import align as align
    from qcs.faces.alignment import similarity as similarity
    from qcs.faces.alignment import template as template
    from qcs.faces.annotated import AnnotatedPictures as AnnotatedPictures
    from qcs.faces.annotation import annotate as annotate
    from qcs.faces.face import LANDMARKS as LANDMARKS
    from qcs.faces.face import Face as Face
    from qcs.faces.faces import FaceDetector as FaceDetector
    from qcs.faces.faces import Faces as Faces
    from qcs.faces.folder import align_folder as align_folder
    from qcs.faces.media import pictures as pictures
    from qcs.faces.mtcnn import MTCNN as MTCNN
    from qcs.faces.mtcnn import detect as detect
    from qcs.faces.picture import Picture as Picture
    from qcs.faces.quality import QualityGate as QualityGate
    from qcs.faces.recorded import Recorded as Recorded
    from qcs.faces.result_file import ResultFile as ResultFile
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "CROPS": "alignment",
            "align": "alignment",
            "similarity": "alignment",
            "template": "alignment",
            "AnnotatedPictures": "annotated",
            "annotate": "annotation",
            "LANDMARKS": "face",
            "Face": "face",
            "FaceDetector": "faces",
            "Faces": "faces",
            "align_folder": "folder",
            "Picture": "picture",
            "QualityGate": "quality",
            "Recorded": "recorded",
            "ResultFile": "result_file",
            "pictures": "media",
            "MTCNN": "mtcnn",
            "detect": "mtcnn",
        },
        extra="faces",
    )
