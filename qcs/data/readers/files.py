"""List folders and read text files, once each, with errors that name the file and line."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qcs.data.images import is_image
from qcs.data.readers.layout import LayoutError
from qcs.errors import InputError
from qcs.files import check_regular


@contextmanager
def text_errors(path: Path) -> Iterator[None]:
    """Convert errors of reading a text file to `InputError`."""
    try:
        check_regular(path)
        yield
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path} as a list in UTF-8: {error}") from error


def csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and stripped cells of every non-empty line of a .csv file."""
    with text_errors(path), path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, skipinitialspace=True)
        for cells in lines:
            if cells:
                # A cell may contain line breaks; an error message that quotes it must not.
                yield lines.line_num, [" ".join(cell.strip().splitlines()) for cell in cells]


def header(path: Path) -> list[str]:
    """Return the first line of a .csv file; empty if there is none or it is unreadable."""
    try:
        return next(csv_lines(path), (0, []))[1]
    except InputError:
        return []


def file_names(folder: str | Path) -> set[str]:
    """Return the names of the files in a folder; empty if the folder does not exist."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file()}
    except (OSError, ValueError):  # a name with a null byte raises ValueError
        return set()


def images_in(folder: Path) -> list[str]:
    """Return the sorted names of the images directly in a folder, without hidden files."""
    return images_and_others(folder)[0]


def images_and_others(folder: Path) -> tuple[list[str], list[str]]:
    """Return the sorted names of the images and of the other files directly in a folder, without hidden files."""
    images: list[str] = []
    others: list[str] = []
    for name in sorted(file_names(folder)):
        if not name.startswith("."):
            (images if is_image(f"{folder}/{name}") else others).append(name)
    return images, others


def subfolders(folder: Path) -> list[Path]:
    """Return the sorted subfolders of a folder, without hidden ones."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def first_of(root: Path, places: Sequence[str], layout: tuple[str, ...]) -> Path:
    """Return the first of these relative paths that exists below a folder.

    Raises:
        LayoutError: None exists.
    """
    for place in places:
        if (root / place).exists():
            return root / place
    raise LayoutError(f"{root} holds none of {', '.join(places)}", layout)


def check_present(images: Sequence[str], root: Path, source: Path) -> None:
    """Check that all images exist, listing each folder only once.

    Raises:
        InputError: Images are missing; states their number and the first.
    """
    folders: dict[str, set[str]] = {}
    missing = []
    for image in images:
        folder, _, name = image.rpartition("/")
        if folder not in folders:
            folders[folder] = file_names(f"{folder}/")
        # Check again: file systems may ignore case or treat / and \\ alike.
        if name not in folders[folder] and not os.path.isfile(image):
            missing.append(image)
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(images):,} images missing under {root}, first: {missing[0]}; "
            f"give the folder that the paths in {source} are relative to as the image root"
        )


def repeated(names: Sequence[str]) -> tuple[str, ...]:
    """Return a remark on images that are listed more than once, if there are any."""
    if len(set(names)) == len(names):
        return ()
    often = [name for name, count in Counter(names).items() if count > 1]
    return (f"{len(often):,} images are listed more than once, first: {often[0]}",)
