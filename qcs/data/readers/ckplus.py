"""Read CK+ (Lucey et al., CVPRW 2010): the last three frames of every labeled sequence, with their subjects."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from qcs.data.labels import CLASSES, CODES, canonical
from qcs.data.readers.coded import coded, read_coded
from qcs.data.readers.fer2013 import has_pixels, read_pixels
from qcs.data.readers.files import first_of, images_in, subfolders
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.options import Format, Options
from qcs.data.readers.table import Table
from qcs.errors import InputError

FRAMES = 3  # at the peak of the expression, as in the common derivative
_IMAGES = ("cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images")
_LABELS = ("Emotion", "Emotion_labels/Emotion")
_NAME = re.compile(r"(S\d{3})_\d{3}_\d{8}\.\w+")
_LAYOUT = (
    "FOLDER/Emotion/S005/001/S005_001_00000011_emotion.txt",
    "FOLDER/cohn-kanade-images/S005/001/S005_001_00000011.png",
    "or FOLDER/<class>/S005_001_00000011.png",
    "or a .csv file with the columns image_name,label (labels 0 to 6, no neutral) or emotion,pixels,Usage",
)


def _recognizes(path: Path) -> bool:
    if not path.is_dir():
        return False
    if any((path / place).is_dir() for place in _LABELS):
        return any((path / place).is_dir() for place in _IMAGES)
    folders = subfolders(path)
    return (
        bool(folders)
        and {canonical(folder.name) for folder in folders} <= {*CLASSES["ckplus"]}
        and all(map(_NAME.fullmatch, images_in(folders[0])[:1] or [""]))
    )


def _read(path: Path, options: Options) -> Table:
    if any((path / place).is_dir() for place in _LABELS):
        return coded(_sequences(path), "ckplus", CODES["ckplus_sequences"])
    if path.is_file() and has_pixels(path):
        # Rows of pixels do not name the subject, and their Usage does not split by subject.
        return replace(read_pixels(path, "ckplus", CODES["ckplus_pixels"]), remarks=(_UNKNOWN,))
    return _with_subjects(read_coded(path, options, "ckplus", CODES["ckplus"]))


_UNKNOWN = "the subjects are unknown, so splits may share them; file names like S005_001_00000011.png name the subject"


def _with_subjects(table: Table) -> Table:
    if table.subjects is not None:
        return table
    found = [_NAME.fullmatch(str(name).rpartition("/")[2]) for name in (table.names if table.names is not None else [])]
    subjects = [match[1] for match in found if match]
    if len(subjects) < len(found):
        return replace(table, remarks=(*table.remarks, _UNKNOWN))
    return replace(table, subjects=subjects)


def _sequences(path: Path) -> Table:
    frames, labels = first_of(path, _IMAGES, _LAYOUT), first_of(path, _LABELS, _LAYOUT)
    names, codes, subjects = [], [], []
    for subject in subfolders(labels):
        for sequence in subfolders(subject):
            code = _code(sequence)
            if code is None:
                continue
            place = f"{subject.name}/{sequence.name}"
            images = images_in(frames / place)
            if len(images) < FRAMES:
                raise LayoutError(f"{frames / place} holds {len(images)} images of a labeled sequence", _LAYOUT)
            names += [f"{place}/{image}" for image in images[-FRAMES:]]
            codes += [code] * FRAMES
            subjects += [subject.name] * FRAMES
    return Table(path, [f"{frames}/{name}" for name in names], codes, names, subjects=subjects)


def _code(sequence: Path) -> str | None:
    """Read the label code of a sequence, written like 3.0000000e+00; None if its folder is empty, as most are."""
    files = sorted(sequence.glob("*_emotion.txt"))
    if not files:
        return None
    try:
        value = float(files[0].read_text(encoding="ascii")) if len(files) == 1 else -1.0
        if value.is_integer() and abs(value) < 100:
            return str(int(value))
    except (OSError, ValueError):
        pass
    raise InputError(f"{files[0]} does not hold a single label code from 0 to 7; correct it or remove the sequence")


CKPLUS = Format(_LAYOUT, _recognizes, _read)
