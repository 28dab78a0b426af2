"""Write the reference of the command line, from Typer."""

from __future__ import annotations

import re

import typer.main
from typer.cli import get_docs_for_click

from qcs.cli import app


def page() -> str:
    """Return the page: a heading for every command, with its arguments, options and defaults."""
    command = typer.main.get_command(app)
    context = command.make_context("qcs", [], resilient_parsing=True)
    text = get_docs_for_click(obj=command, ctx=context, name="qcs", title="Command line")
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+\n", "", text)  # truncated texts; the headings have the full ones
    text = re.sub(r"\* `--help`: .*\n", "", text)
    text = re.sub(r"\*\*Options\*\*:\n\n(?!\* )", "", text)
    text = re.sub(r" \[default: \((.*)\)\]", r" Default: \1.", text)
    text = re.sub(r" \[default: (.*)\]", r" Default: \1.", text)
    return text.replace(" [required]", " Required.").replace("```console\n$ ", "```\n")
