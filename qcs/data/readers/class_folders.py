"""Read a folder per class, with or without parent folders per split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qcs.data.images import count_suffixes
from qcs.data.readers.files import images_and_others, images_in, subfolders
from qcs.data.readers.layout import LayoutError
from qcs.data.readers.table import SPLIT_OF, Table

LAYOUT = ("FOLDER/<class>/<image>.jpg or FOLDER/{train,validation,test}/<class>/<image>.jpg",)

_IMAGES = frozenset({"image", "images"})
_BOXES = frozenset({"annotation", "annotations", "label", "labels"})


def read_class_folders(root: Path) -> Table:
    """Read the images of class folders; the label is the name of the folder.

    A single folder named images around the classes or splits is passed through.

    Raises:
        LayoutError: Folders are empty, split folders and class folders are mixed, or the folders are those of another
            layout.
    """
    top = _inside_images(root)
    folders = _subfolders(top)
    _refuse_boxes(top, folders)
    splits = {folder: folder.name for folder in folders if folder.name.lower() in SPLIT_OF}
    if splits and len(splits) < len(folders):
        other = next(folder.name for folder in folders if folder not in splits)
        raise LayoutError(f"{top} holds the folder {other} beside the splits", LAYOUT, "move it out of that folder")
    return of_splits(root, splits) if splits else _table(root, [(folder, None) for folder in folders])


def of_splits(root: Path, splits: Mapping[Path, str]) -> Table:
    """Read the images of split folders that hold a folder per class each.

    Raises:
        LayoutError: As for `read_class_folders`.
    """
    class_folders: list[tuple[Path, str | None]] = []
    for folder, split in splits.items():
        top = _inside_images(folder)
        children = _subfolders(top)
        _refuse_boxes(top, children)
        class_folders += [(child, split) for child in children]
    return _table(root, class_folders)


def _table(root: Path, class_folders: list[tuple[Path, str | None]]) -> Table:
    images, labels, names, splits = [], [], [], []
    others: list[str] = []
    for folder, split in class_folders:
        place = folder.relative_to(root).as_posix()
        found, left_out = images_and_others(folder)
        if not found:  # an error, because an empty class would shift the class indices
            raise _no_images(folder, left_out)
        others += [f"{place}/{name}" for name in left_out]
        for name in found:
            images.append(f"{folder}/{name}")
            names.append(f"{place}/{name}")
            labels.append(folder.name)
            splits.append(split or "")
    remarks = [*_left_out(others), *_nested(root, class_folders), *_beside(root, class_folders)]
    in_splits = class_folders[0][1] is not None
    return Table(root, images, labels, names, splits if in_splits else None, remarks=tuple(remarks))


def _inside_images(folder: Path) -> Path:
    """Return the folder of the classes: one named images is not a class if it holds folders and nothing is beside."""
    children = subfolders(folder)
    if len(children) == 1 and children[0].name.lower() in _IMAGES and subfolders(children[0]):
        return _inside_images(children[0])
    return folder


def _refuse_boxes(folder: Path, children: list[Path]) -> None:
    """Refuse the layout of detection data such as YOLO's: images/<image>.jpg with labels/<image>.txt."""
    parts = [child.name for child in children if child.name.lower() in _IMAGES | _BOXES]
    if parts:
        raise LayoutError(
            f"{folder} holds the folder{'s' * (len(parts) > 1)} {' and '.join(parts)}, as detection data does (YOLO), "
            "not a folder per class",
            LAYOUT,
            "sort the images into a folder per class, or list them in a .csv file with the columns path,label",
        )


def _subfolders(folder: Path) -> list[Path]:
    found = subfolders(folder)
    if not found:
        images = len(images_in(folder))
        advice = f"move its {images:,} images into a folder per class" if images else ""
        raise LayoutError(f"{folder} holds no folders", LAYOUT, advice)
    return found


def _no_images(folder: Path, others: list[str]) -> LayoutError:
    nested = [child.name for child in subfolders(folder)]
    seen = [f"the files {count_suffixes(others)}"] if others else []
    seen += [f"the folders {_some(nested)}"] if nested else []
    advice = "add images or remove the folder"
    if nested:
        alone = len(subfolders(folder.parent)) == 1
        advice = f"give {folder} as the path" if alone else "move the images of its folders up into it"
    return LayoutError(
        f"class folder {folder} holds no images{' but ' * bool(seen)}{' and '.join(seen)}", LAYOUT, advice
    )


def _left_out(others: list[str]) -> list[str]:
    if not others:
        return []
    return [
        f"left out {len(others):,} files in class folders that are no images or of a kind that is not read: "
        f"{count_suffixes(others)}; first: {others[0]}"
    ]


def _nested(root: Path, class_folders: list[tuple[Path, str | None]]) -> list[str]:
    inside = [child.relative_to(root).as_posix() for folder, _ in class_folders for child in subfolders(folder)]
    if not inside:
        return []
    return [f"left out {len(inside):,} folders inside class folders: {_some(inside)}; move their images up to use them"]


def _beside(root: Path, class_folders: list[tuple[Path, str | None]]) -> list[str]:
    above = sorted({root, *(folder.parent for folder, _ in class_folders)})
    beside = [(folder / name).relative_to(root).as_posix() for folder in above for name in images_in(folder)]
    if not beside:
        return []
    return [
        f"left out {len(beside):,} images outside of class folders: {_some(beside)}; move them into one to use them"
    ]


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
