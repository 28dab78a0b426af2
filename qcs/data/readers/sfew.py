"""Read SFEW 2.0 (Dhall et al., ICMI 2015): film stills by split and class; the test labels are not public."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from qcs.data.labels import CODES
from qcs.data.readers.class_folders import of_splits
from qcs.data.readers.coded import coded, read_coded
from qcs.data.readers.files import subfolders
from qcs.data.readers.options import Format, Options
from qcs.data.readers.table import SPLIT_OF, Table

_LAYOUT = (
    "FOLDER/Train_Aligned_Faces/Angry/<image>.png and FOLDER/Val_Aligned_Faces/Angry/<image>.png",
    "or FOLDER/{Train,Val}/<class>/<image>.png",
    "or a .csv file with the columns image_name,label (labels 0 to 6)",
)


def _splits(path: Path) -> dict[Path, str]:
    """Return the folders of splits: Train, Train_*, and so on."""
    found = {}
    for folder in subfolders(path) if path.is_dir() else ():
        split = SPLIT_OF.get(re.split("[_ ]", folder.name.lower())[0])
        if split is not None:
            found[folder] = split
    return found


def _recognizes(path: Path) -> bool:
    # Plain Train and Val are ordinary class folders with splits.
    return any(re.fullmatch(r"(train|val)_aligned_faces\w*", folder.name.lower()) for folder in _splits(path))


def _read(path: Path, options: Options) -> Table:
    splits = _splits(path)
    if not splits:
        return read_coded(path, options, "sfew", CODES["sfew"])
    labeled = {folder: split for folder, split in splits.items() if split != "test" or subfolders(folder)}
    table = of_splits(path, labeled)
    if len(labeled) < len(splits):
        table = replace(table, remarks=(*table.remarks, "the test split has no labels and is skipped"))
    return coded(table, "sfew", CODES["sfew"])


SFEW = Format(_LAYOUT, _recognizes, _read)
