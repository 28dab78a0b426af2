"""Looking into folders and text files, once each, with errors that name the place."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qcs.data.readers.layout import LayoutError
from qcs.errors import InputError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


@contextmanager
def text_errors(path: Path) -> Iterator[None]:
    """Turns what reading a text can raise into one line."""
    try:
        yield
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} as a list in UTF-8: {error}") from error


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells, without surrounding space, of every line of a .csv file that is not empty."""
    with text_errors(path), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, skipinitialspace=True)
        for cells in lines:
            if cells:
                # A cell may run over lines; an error that quotes it must not.
                yield lines.line_num, [" ".join(cell.strip().splitlines()) for cell in cells]


def header(path: Path) -> list[str]:
    """The first line of a .csv file; empty where there is none or it cannot be read."""
    try:
        return next(csv_lines(path), (0, []))[1]
    except InputError:
        return []


def file_names(folder: str | Path) -> set[str]:
    """The names of the files in a folder; none where it does not exist."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return set()


def images_in(folder: Path) -> list[str]:
    """Names of the images right in a folder, sorted, without hidden files."""
    return sorted(
        name
        for name in file_names(folder)
        if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")
    )


def subfolders(folder: Path) -> list[Path]:
    """Folders right in a folder, sorted, without hidden ones."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def first_of(root: Path, places: Sequence[str], layout: tuple[str, ...]) -> Path:
    """The first of these places below a folder that exists.

    Raises:
        LayoutError: There is none.
    """
    for place in places:
        if (root / place).exists():
            return root / place
    raise LayoutError(f"{root} holds none of {', '.join(places)}", layout)


def check_present(images: Sequence[str], root: Path, source: Path) -> None:
    """Refuses images that are not there, looking once into each folder instead of once for each image.

    Raises:
        InputError: With the number of missing images and the first of them.
    """
    folders: dict[str, set[str]] = {}
    missing = []
    for image in images:
        folder, _, name = image.rpartition("/")
        if folder not in folders:
            folders[folder] = file_names(f"{folder}/")
        # Not listed but there: some file systems do not tell upper from lower case, or / from \\.
        if name not in folders[folder] and not os.path.isfile(image):
            missing.append(image)
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(images):,} images missing under {root}, first: {missing[0]}; "
            f"give the folder that the paths in {source} start from as the image root"
        )


def repeated(names: Sequence[str]) -> tuple[str, ...]:
    """A remark on images that are listed more than once, if there are any."""
    if len(set(names)) == len(names):
        return ()
    often = [name for name, count in Counter(names).items() if count > 1]
    return (f"{len(often):,} images are listed more than once, first: {often[0]}",)
