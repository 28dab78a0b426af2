"""The commands under `qcs data`: `align`, `check` and `manifest`."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from qcs.cli.shared import ImageRoot, console, interruptible, report, setting
from qcs.errors import InputError

app = typer.Typer(no_args_is_help=True, help="Prepare and check images.")


@app.command("align")
def align_data(
    source: Annotated[str, typer.Argument(metavar="IN", help="Folder of pictures, searched at any depth.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="Folder of faces, with the same tree of folders.")],
    size: Annotated[int, typer.Option(help="Side of the faces, in pixels.")] = 112,
    crop: Annotated[str, typer.Option(help="How faces are cut out: fer2013, arcface or loose.")] = "fer2013",
    faces: Annotated[str, typer.Option(help="best (the largest of a picture) or all.")] = "best",
    min_face: Annotated[
        int | None, setting("Smallest face to find, in pixels.", "a 40th of the shorter side, at least 20")
    ] = None,
    workers: Annotated[int | None, setting("Processes that work at the same time.", "one per core")] = None,
) -> None:
    """Cut the faces out of pictures, upright and at one size; started again, it goes on where it was."""
    from qcs.faces import MTCNN, align_folder

    with interruptible():
        done = align_folder(
            source,
            target,
            size=size,
            crop=crop,
            faces=faces,
            workers=os.cpu_count() or 1 if workers is None else workers,
            detector=partial(MTCNN, min_face),
            console=console,
        )
    console.print(f"{done}; see {target}/align.jsonl", markup=False, highlight=False, soft_wrap=True)


@app.command("check")
def check_data(
    path: Annotated[str, typer.Argument(help="Archive, folder or list file.")],
    format: Annotated[str | None, setting("What it is, as raf_db; an unknown name lists all.", "recognised")] = None,
    votes: Annotated[
        str | None, setting("From FERPlus votes to labels; an unknown name lists all.", "majority")
    ] = None,
    image_root: ImageRoot = None,
) -> None:
    """Read every image of a dataset once and say what was found, beside the published counts."""
    from qcs.data.check import check, show
    from qcs.data.readers.layout import LayoutError

    try:
        found = check(path, image_root, format=format, votes=votes)
    except LayoutError as error:
        console.print("\n  ".join(("expected:", *error.layout)), markup=False, highlight=False, soft_wrap=True)
        raise
    show(found, console)
    for unreadable in found.unreadable:
        report("red", "error", str(unreadable))
    if found.unreadable:
        raise typer.Exit(1)


@app.command("manifest")
def manifest_data(
    path: Annotated[str, typer.Argument(help="Folder or file.")],
    output: Annotated[str, typer.Option(help="JSON file to write.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare with that file instead of writing it.")] = False,
) -> None:
    """Write the SHA-256 of every file, so that a result can name its exact data."""
    from qcs.data.manifest import changes, write_manifest

    if not verify:
        console.print(write_manifest(path, output)["sha256"], "wrote", escape(output), highlight=False, soft_wrap=True)
    elif changed := changes(path, output):
        raise InputError(f"{len(changed):,} files of {path} are not as in {output}, first: {changed[0]}")
    else:
        console.print("all files are as in", escape(output), highlight=False, soft_wrap=True)
