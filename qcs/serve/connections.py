"""Bound the connections and log lines of the server, whatever clients do."""

from __future__ import annotations

import logging
import time
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 64
MOST_LOG_LINES = 100


class Connection(H11Protocol):
    """A connection. If there are too many, the oldest one without a complete request is closed.

    Without this limit, idle connections use up the file descriptors of the process, and nobody can connect.
    """

    opened: float

    def connection_made(self, transport: Any) -> None:
        """Make room for the new connection, or refuse it while all others wait for answers."""
        self.opened = time.monotonic()
        if len(self.connections) >= MOST_CONNECTIONS:
            waiting = [other for other in self.connections if isinstance(other, Connection) and other.is_incomplete]
            if not waiting:
                transport.abort()
                super().connection_made(transport)
                return
            oldest = min(waiting, key=lambda other: (other.is_sending, other.opened))
            self.connections.discard(oldest)
            oldest.transport.abort()
        super().connection_made(transport)

    @property
    def is_sending(self) -> bool:
        """Whether the client has sent the head of a request, but not yet its body."""
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete

    @property
    def is_incomplete(self) -> bool:
        """Whether the server waits for the client."""
        return self.cycle is None or self.cycle.response_complete or self.is_sending


class FirstLines(logging.Filter):
    """Pass the first log records only, so that no client can fill a disk."""

    count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record."""
        self.count += 1
        if self.count == MOST_LOG_LINES:
            record.msg, record.args, record.exc_info = "too many messages; no more are shown", (), None
        return self.count <= MOST_LOG_LINES


def limit_log() -> None:
    """Limit the log lines of the server."""
    for name in ("uvicorn.error", "asyncio"):
        logging.getLogger(name).addFilter(FirstLines())
