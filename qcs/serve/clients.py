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
CHECK_SECONDS = 0.2  # between checks whether the clients of an analysis are there


class ClientLeftError(Exception):
    """Every client of the analysis has left."""


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
        """Whether the client was gone when last checked; for any thread."""
        return self._left.is_set()

    async def has_left(self) -> bool:
        """Check whether the client has left."""
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
    """Run work in a thread, and check meanwhile whether its clients have left.

    Raises:
        ClientLeftError: If they have all left and the work noticed it.
    """
    _clients.set(clients)
    task = asyncio.ensure_future(run_in_threadpool(work))
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=CHECK_SECONDS)
            for client in clients:
                await client.has_left()
    except asyncio.CancelledError:
        task.cancel()
        raise
    return task.result()
