"""Serve the page and the service until the user stops them."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from qcs.engine.face_crop import crop_to_predict
from qcs.engine.prediction import default_device
from qcs.errors import InputError
from qcs.faces import MTCNN, template
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.models.weights import find_weights
from qcs.serve.answer import Answer
from qcs.serve.application import application
from qcs.serve.batches import Predictor

if TYPE_CHECKING:
    import uvicorn

GRACE = 1  # seconds before open connections are closed at shutdown


def serve(weights: str, host: str, port: int, crop: str | None, on_start: Callable[[str, str], object]) -> None:
    """Serve the page and the service until Ctrl-C.

    Args:
        weights: Whatever names weights, see `qcs.models.weights.find_weights`.
        host: Host name or address to listen on.
        port: Port to listen on; 0 chooses a free one.
        crop: Crop of the faces, see `qcs.faces.template`; None for the crop of the training data.
        on_start: Called once with the address of the page and the name of the network.

    Raises:
        InputError: If there are no weights, the crop is unknown, or the address cannot be used.
    """
    if crop is not None:
        template(crop)
    with suppress(KeyboardInterrupt), _interrupted_by_signals():  # Ctrl-C is the normal end
        file = find_weights(weights)
        model = load_model(file)
        detector, crop, device = MTCNN(), crop_to_predict(file, crop), default_device()
        name = _name(model)
        with _listening(host, port) as listener:
            app = application(
                Answer(model, detector, crop, device),
                Predictor(model, detector, crop, device),
                name=name,
                classes=model.class_names,
                about=_about(model),
                host=host,
            )
            on_start(_address(host, listener.getsockname()[1]), name)
            _run(app, listener)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on SIGTERM and SIGHUP too, so that they clean up as Ctrl-C does."""
    ends = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {end: signal.signal(end, signal.default_int_handler) for end in ends}
    try:
        yield
    finally:
        for end, handler in before.items():
            signal.signal(end, handler)


def server_settings(app: Any) -> uvicorn.Config:
    """Return the settings of the server: bounded connections and log lines, HTTP only."""
    import uvicorn

    from qcs.serve.connections import Connection, limit_log

    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
    limit_log()  # after uvicorn has set up its log
    return config


def _run(app: Any, listener: socket.socket) -> None:
    import uvicorn

    server = uvicorn.Server(server_settings(app))
    if hasattr(signal, "SIGHUP"):  # uvicorn handles the others; an exception would end an arbitrary task instead
        signal.signal(signal.SIGHUP, server.handle_exit)
    server.run(sockets=[listener])


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


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _name(model: CrossSimilarityNetwork) -> str:
    return str(model.pretrained_cfg.get("architecture", "the network"))


def _about(model: CrossSimilarityNetwork) -> str:
    compares = {1: "compares no faces", 2: "compares two faces at a time", 4: "compares four faces at a time"}
    return f"This network, {_name(model)}, predicts {model.num_classes} expressions and {compares[model.branches]}."
