"""The command `qcs push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qcs.cli.shared import Weights, option, say


def push(
    weights: Weights,
    repository: Annotated[str, typer.Argument(metavar="ORG/NAME", help="Repository on the Hugging Face Hub.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository private.", show_default="public")
    ] = False,
    revision: Annotated[str | None, option("Branch to commit to.", "main")] = None,
    license: Annotated[str | None, option("License of the weights: its identifier on the Hub.", "not stated")] = None,
    dry_run: Annotated[str | None, option("Folder to write to instead of publishing.", "none")] = None,
) -> None:
    """Publish weights on the Hugging Face Hub with configuration, golden logits and a model card."""
    from qcs import publish
    from qcs.publish.upload import check_name

    if dry_run is None:
        url = publish.push(weights, repository, private=private, revision=revision, license=license)
        say(f"published {url}")
        return
    check_name(repository)
    publish.write_repository(publish.Publication.of(weights, repository, license), Path(dry_run))
    say(f"wrote {dry_run}")
