"""Read the bodies of requests into memory, within limits of memory, time and number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

MOST_HELD = 160 * 2**20  # bytes of all requests in memory
BODY_SECONDS = 30  # seconds until a request must have arrived
BUSY = "the server is busy with other images; try again in a few seconds"


class RefusedError(Exception):
    """A request that gets no answer.

    Args:
        status: The HTTP status.
        message: What was wrong and what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Intake:
    """Hold the bodies of all requests, and count the requests that wait.

    Attributes:
        held: Bytes of all bodies in memory.
        waiting: Number of requests that wait for their analysis, or are analyzed.
    """

    def __init__(self) -> None:
        self.held = 0
        self.waiting = 0

    @asynccontextmanager
    async def body(self, request: Request, most_waiting: int) -> AsyncIterator[bytes]:
        """Read the body of a request, and keep its place among the waiting ones.

        Args:
            request: The request.
            most_waiting: Number of waiting requests from which on it is refused.

        Raises:
            RefusedError: With status 408 if it arrives too slowly, 503 if too much or too many wait.
        """
        body, content = bytearray(), b""
        try:
            try:
                fits = await asyncio.wait_for(self._read(request, body), BODY_SECONDS)
            except (asyncio.TimeoutError, TimeoutError):
                raise RefusedError(
                    408, f"the images did not arrive within {BODY_SECONDS} seconds; send them again"
                ) from None
            if not fits or self.waiting >= most_waiting:
                raise RefusedError(503, BUSY)
            content = bytes(body)
            body.clear()  # one copy is enough
            self.waiting += 1
            try:
                yield content
            finally:
                self.waiting -= 1
        finally:
            self.held -= len(body) + len(content)

    async def _read(self, request: Request, body: bytearray) -> bool:
        """Read the body into memory; return False if the requests would hold too much of it."""
        async for chunk in request.stream():
            if self.held + len(chunk) > MOST_HELD:
                return False
            self.held += len(chunk)
            body += chunk
        return True
