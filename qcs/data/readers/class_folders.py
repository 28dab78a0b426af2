"""Read a folder per class, with or without parent folders per split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qcs.data.readers.files import images_in, subfolders
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.table import SPLIT_OF, Table

LAYOUT = ("FOLDER/<class>/<image>.jpg or FOLDER/{train,validation,test}/<class>/<image>.jpg",)


def read_class_folders(root: Path) -> Table:
    """Read the images of class folders; the label is the name of the folder.

    Raises:
        LayoutError: Folders are empty, or split folders and class folders are mixed.
    """
    folders = _subfolders(root)
    splits = {folder: folder.name for folder in folders if folder.name.lower() in SPLIT_OF}
    if splits and len(splits) < len(folders):
        other = next(folder.name for folder in folders if folder not in splits)
        raise LayoutError(f"{root} holds the folder {other} beside the splits", LAYOUT)
    return of_splits(root, splits) if splits else _table(root, [(folder, None) for folder in folders])


def of_splits(root: Path, splits: Mapping[Path, str]) -> Table:
    """Read the images of split folders that hold a folder per class each.

    Raises:
        LayoutError: As for `read_class_folders`.
    """
    return _table(root, [(child, split) for folder, split in splits.items() for child in _subfolders(folder)])


def _table(root: Path, class_folders: list[tuple[Path, str | None]]) -> Table:
    images, labels, names, splits = [], [], [], []
    for folder, split in class_folders:
        place = folder.relative_to(root).as_posix()
        for name in _images_in(folder):
            images.append(f"{folder}/{name}")
            names.append(f"{place}/{name}")
            labels.append(folder.name)
            splits.append(split or "")
    return Table(root, images, labels, names, splits if class_folders[0][1] is not None else None)


def _subfolders(folder: Path) -> list[Path]:
    found = subfolders(folder)
    if not found:
        raise LayoutError(f"{folder} holds no folders", LAYOUT)
    return found


def _images_in(folder: Path) -> list[str]:
    """Return the images of a class folder; an empty one is an error, because it would shift the class indices."""
    found = images_in(folder)
    if not found:
        raise LayoutError(f"class folder {folder} holds no images", LAYOUT, "add images or remove the folder")
    return found
