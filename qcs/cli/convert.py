"""The command `qcs convert`."""

from __future__ import annotations

from typing import Annotated

import typer

from qcs.cli.shared import option, say


def convert(
    files: Annotated[
        list[str],
        typer.Argument(help="Checkpoint of an official implementation, or of networks that its method starts from."),
    ],
    to: Annotated[
        str | None, option("Network and tag, such as qcs_ir50.raf_db; ir50 for the backbone.", "lists what fits")
    ] = None,
    output: Annotated[str | None, option("File to write: .safetensors.", "NAME.safetensors")] = None,
) -> None:
    """Convert a checkpoint of the original implementation into a weights file and count its entries."""
    from qcs.models.convert import convert_checkpoint

    done = convert_checkpoint(files, to, output)
    say(f"{done.loaded.matched} of {done.loaded.total} entries matched")
    for what, count in done.loaded.dropped.items():
        say(f"{count} dropped: {what}")
    if done.loaded.fresh:
        say(f"{done.loaded.fresh} missing: random, so the file is a start for training, not a trained network")
    say("read back: equal tensors, equal logits of the golden input")
    say(f"wrote {done.path}")
