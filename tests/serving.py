"""Run the server in a thread of this process, on a free port."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def serving(app: Any) -> Iterator[int]:
    """Yield the port of a server with the settings of `qcs serve`; it has ended afterwards."""
    import uvicorn

    from qcs.serve.server import server_settings

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_settings(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
