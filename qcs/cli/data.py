"""The commands `qcs data align`, `qcs data check` and `qcs data manifest`."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from qcs.cli.shared import DataFormat, ImageRoot, MinFace, cell, console, interruptible, notice, option, say
from qcs.errors import InputError
from qcs.escaping import spreadsheet_text
from qcs.files import write_text

if TYPE_CHECKING:
    from qcs.data.check import Findings

app = typer.Typer(no_args_is_help=True, help="Prepare and check datasets.")


@app.command("align")
def align_data(
    source: Annotated[str, typer.Argument(metavar="IN", help="Folder of photographs, searched recursively.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="Folder for the face crops, with the same subfolders.")],
    size: Annotated[int, typer.Option(help="Side of the face crops, in pixels.")] = 112,
    crop: Annotated[str, typer.Option(help="Crop template: fer2013, arcface or loose.")] = "fer2013",
    faces: Annotated[str, typer.Option(help="Faces per photograph: best (the largest) or all.")] = "best",
    min_face: MinFace = None,
    workers: Annotated[int | None, option("Number of parallel processes.", "one per core")] = None,
) -> None:
    """Detect, align and crop the faces in photographs. Run it again to resume."""
    from qcs.faces import MTCNN, align_folder

    with interruptible(), _Bar() as bar:
        done = align_folder(
            source,
            target,
            size=size,
            crop=crop,
            faces=faces,
            workers=os.cpu_count() or 1 if workers is None else workers,
            detector=partial(MTCNN, min_face),
            on_progress=bar.show,
        )
    say(f"{done}; see {target}/align.jsonl")


@app.command("check")
def check_data(
    path: Annotated[str, typer.Argument(help="Archive, folder or list file.")],
    format: DataFormat = None,
    votes: Annotated[
        str | None, option("Rule that turns FERPlus votes into labels; an unknown name lists all.", "majority")
    ] = None,
    image_root: ImageRoot = None,
    near_duplicates: Annotated[
        str | None, option("CSV file to write the pairs of near-duplicates across splits to.", "none")
    ] = None,
) -> None:
    """Read every image of a dataset once and print what was found beside the published counts."""
    from qcs.data.check import check
    from qcs.data.readers.layout import LayoutError

    try:
        found = check(path, image_root, format=format, votes=votes)
    except LayoutError as error:
        say("expected:")
        for line in error.layout:
            say(f"  {line}")
        raise
    _show(found)
    if near_duplicates is not None:
        _write_pairs(found, near_duplicates)
    for unreadable in found.unreadable:
        notice("red", "error", str(unreadable))
    if found.unreadable:
        raise typer.Exit(1)


@app.command("manifest")
def manifest_data(
    path: Annotated[str, typer.Argument(help="Folder or file.")],
    output: Annotated[str, typer.Option(help="JSON file to write.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare with that file instead of writing it.")] = False,
) -> None:
    """Write the SHA-256 of every file of a dataset, so that a result can name its exact data."""
    from qcs.data.manifest import changes, write_manifest

    if not verify:
        say(f"{write_manifest(path, output)['sha256']} wrote {output}")
    elif changed := changes(path, output):
        raise InputError(f"{len(changed):,} files of {path} are not as in {output}, first: {changed[0]}")
    else:
        say(f"all files are as in {output}")


class _Bar(Progress):
    """Progress bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        hidden = not console.is_terminal
        super().__init__(TextColumn("aligning"), *columns, console=console, transient=True, disable=hidden)

    def show(self, finished: int, pictures: int) -> None:
        """Show how many pictures are finished; those of the first call do not count for the remaining time."""
        if not self.task_ids:
            self.add_task("", total=pictures, completed=finished)
        self.update(self.task_ids[0], completed=finished)


def _show(found: Findings) -> None:
    """Print a table of splits and classes, and a line for every remark."""
    votes = f", votes by the rule {found.rule}" if found.rule else ""
    say(f"{found.source}: read as {found.format}{votes}")
    console.print(_counts(found))
    for split, sizes in found.sizes.items():
        say(f"{split}: {_sizes(sizes)}")
    for remark in found.remarks:
        say(f"- {remark}")


def _write_pairs(found: Findings, output: str) -> None:
    """Write a row for each pair of near-duplicates, the most similar first."""
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(("split", "name", "other_split", "other_name", "bits"))
    rows.writerows([*map(spreadsheet_text, pair[:4]), pair.bits] for pair in found.near)
    say(f"wrote {write_text(Path(output), lines.getvalue())}")


def _counts(found: Findings) -> Table:
    """Return a row per class; per split its number of images and, if known, the published number."""
    from qcs.data.published import published
    from qcs.data.votes import DEFAULT

    known = published(found.dataset, found.rule or DEFAULT) if found.dataset else {}
    table = Table("class", box=None)
    columns: list[list[str]] = []
    for split, images in found.splits.items():
        table.add_column(split, justify="right")
        counts = list(images.class_counts().values())
        columns.append([f"{count:,}" for count in (*counts, sum(counts))])
        for expected in known.get(split, ())[:1]:
            table.add_column("published", justify="right")
            each = [""] * len(counts) if isinstance(expected, int) else [f"{count:,}" for count in expected]
            columns.append([*each, f"{expected if isinstance(expected, int) else sum(expected):,}"])
    classes = next(iter(found.splits.values())).classes
    for name, *cells in zip((*classes, "all"), *columns, strict=True):
        table.add_row(cell(name), *cells)
    return table


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    shown = ", ".join(f"{count:,} of {width}x{height}" for (width, height), count in sizes.most_common(3))
    return f"{shown}, {len(sizes) - 3:,} more sizes" if len(sizes) > 3 else shown or "no readable image"
