from __future__ import annotations

import subprocess
import sys

import pytest

import qcs
import qcs.data
from qcs.data.labels import CANONICAL, CLASSES, canonical, class_indices

# index of neutral, happy, sad, surprise, fear, disgust, anger, contempt in each dataset's own numbering
PUBLISHED_INDICES = {
    "raf_db": (6, 3, 4, 0, 1, 2, 5, None),
    "ferplus": (0, 1, 3, 2, 6, 5, 4, 7),
    "fer2013": (6, 3, 4, 5, 2, 1, 0, None),
    "expw": (6, 3, 4, 5, 2, 1, 0, None),
    "affectnet7": (0, 1, 2, 3, 4, 5, 6, None),
    "affectnet8": (0, 1, 2, 3, 4, 5, 6, 7),
    "sfew": (4, 3, 5, 6, 2, 1, 0, None),
    "ckplus": (None, 4, 5, 6, 3, 2, 0, 1),
}


def test_every_dataset_in_the_table_has_its_published_indices() -> None:
    names = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
    indices = {dataset: tuple(class_indices(names, classes)) for dataset, classes in CLASSES.items()}
    assert indices == PUBLISHED_INDICES


@pytest.mark.parametrize("dataset", CLASSES)
def test_table_holds_canonical_names_once_each(dataset: str) -> None:
    classes = CLASSES[dataset]
    assert set(classes) <= set(CANONICAL)
    assert len(set(classes)) == len(classes)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Happiness", "happy"),
        ("SAD", "sad"),
        (" sadness ", "sad"),
        ("Angry", "anger"),
        ("surprised", "surprise"),
        ("Disgusted", "disgust"),
        ("fearful", "fear"),
        ("afraid", "fear"),
        ("Neutral", "neutral"),
        ("contempt", "contempt"),
    ],
)
def test_synonyms_in_any_case_become_canonical(written: str, expected: str) -> None:
    assert canonical(written) == expected


def test_a_users_own_class_keeps_its_name() -> None:
    assert canonical(" Deep Thought ") == "deep thought"


def test_conversion_goes_by_name_and_marks_what_the_target_lacks() -> None:
    assert class_indices(["angry", "contempt", "happiness"], CLASSES["raf_db"]) == [5, None, 3]


def test_importing_the_package_loads_no_image_library() -> None:
    code = (
        "import sys, qcs.data, qcs.data.labels; "
        "print(sorted({'torch', 'torchvision', 'PIL', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_every_public_name_is_reachable_and_listed() -> None:
    names = [name for name in dir(qcs.data) if not name.startswith("__")]
    assert {"CLASSES", "LabeledImages", "eval_transform", "read"} <= set(names)
    assert all(getattr(qcs.data, name) is not None for name in names)


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = qcs.data.nothing
