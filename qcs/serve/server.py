"""Serving the page until the user ends it."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from accelerate import Accelerator
from rich.console import Console

from qcs.engine.face_crop import crop_to_predict
from qcs.errors import InputError
from qcs.faces import MTCNN, template
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.models.weights import find_weights
from qcs.serve.answer import Answer
from qcs.serve.guard import Guard
from qcs.serve.page import page
from qcs.serve.rendering import text

GRACE = 1  # seconds that open pages get when the server ends


def serve(weights: str, host: str, port: int, crop: str | None, console: Console) -> None:
    """Serve the page until Ctrl-C.

    Args:
        weights: A run folder, a weights file, or the name of a network with weights in the package.
        host: Name or address to listen on.
        port: Port to listen on; 0 takes a free one.
        crop: How faces are cut out, see `qcs.faces.template`; None for the way of the training.
        console: Says where the page is.

    Raises:
        InputError: If there are no weights, the crop is unknown or nothing can listen there.
    """
    if crop is not None:
        template(crop)
    with suppress(KeyboardInterrupt), _ended_by_any_signal():  # the way it is meant to end
        file = find_weights(weights, repositories=False)
        model = load_model(file)
        answer = Answer(model, MTCNN(), crop_to_predict(file, crop), Accelerator().device)
        with _listening(host, port) as listener, _scratch():
            address = _address(host, listener.getsockname()[1])
            app = application(answer, _about(model))
            console.print(f"{address} shows what {_name(model)} sees; Ctrl-C ends it", markup=False, highlight=False)
            _run(app, listener)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # some other name
        return False


def application(answer: Answer, about: str) -> Any:
    """The page as an ASGI application, guarded."""
    import gradio as gr
    from fastapi import FastAPI

    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page(answer, about),
        "/",
        theme=gr.themes.Default(font="system-ui", font_mono="monospace"),
        css=text("page.css"),
        footer_links=[],
        run_history=False,  # which would keep images in the browser
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
    )
    return Guard(app)


@contextmanager
def _ended_by_any_signal() -> Iterator[None]:
    """Ended by others, or by its terminal's closing, it tidies up as after Ctrl-C."""
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {end: signal.signal(end, signal.default_int_handler) for end in ends}
    try:
        yield
    finally:
        for end, handler in before.items():
            signal.signal(end, handler)


def _run(app: Any, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE, proxy_headers=False)
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(place[:2], family=family)
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise InputError(
            f"cannot listen on {host}, port {port}: {reason}; choose another --port, or another --host of this machine"
        ) from error
    with listener:
        yield listener


@contextmanager
def _scratch() -> Iterator[None]:
    """A folder of its own for what Gradio writes, removed at the end; no image gets there."""
    with tempfile.TemporaryDirectory(prefix="qcs-serve-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # before Gradio is imported, which makes folders there
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        yield


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _name(model: CrossSimilarityNetwork) -> str:
    return str(model.pretrained_cfg.get("architecture", "the network"))


def _about(model: CrossSimilarityNetwork) -> str:
    compares = {1: "compares none", 2: "compares two faces at a time", 4: "compares four faces at a time"}
    return f"This network, {_name(model)}, knows {model.num_classes} expressions and {compares[model.branches]}."
