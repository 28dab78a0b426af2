"""Notice when a client leaves, and end the work for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

T = TypeVar("T")
LOOK = 0.2  # seconds between two looks at the clients of a running analysis


class ClientLeftError(Exception):
    """The client of the running analysis has left."""


class Client:
    """Who waits for an answer.

    Args:
        request: The request, whose body has been read.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._left = threading.Event()

    @property
    def left(self) -> bool:
        """Whether the client was gone at the last look; for any thread."""
        return self._left.is_set()

    async def look(self) -> bool:
        """Look whether the client is still there; return whether it left."""
        if not self.left and await self._request.is_disconnected():
            self._left.set()
        return self.left


_clients: ContextVar[Sequence[Client]] = ContextVar("clients", default=())


def check_clients() -> None:
    """End the work of this thread if all clients that it is for have left; call it between its parts.

    Raises:
        ClientLeftError: If they have.
    """
    clients = _clients.get()
    if clients and all(client.left for client in clients):
        raise ClientLeftError


async def run_for(clients: Sequence[Client], work: Callable[[], T]) -> T:
    """Run work in a thread, and look meanwhile whether its clients are still there.

    Raises:
        ClientLeftError: If they have all left and the work noticed it.
    """
    _clients.set(clients)
    running = asyncio.ensure_future(run_in_threadpool(work))
    try:
        while not running.done():
            await asyncio.wait({running}, timeout=LOOK)
            for client in clients:
                await client.look()
    except asyncio.CancelledError:
        running.cancel()
        raise
    return running.result()
