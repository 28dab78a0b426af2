"""Refuse requests that the page never sends, and restrict what a browser may load for the page."""

from __future__ import annotations

import ipaddress
from typing import Any

from qcs.serve.uploads import MEGABYTES, MOST_IMAGES

MOST_BODY = MOST_IMAGES * MEGABYTES * 2**20  # bytes
LONGEST_QUERY = 2**14  # bytes: names and sizes of the images
HEADERS = {
    "content-security-policy": "default-src 'none'; connect-src 'self'; img-src 'self' data: blob:; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """Wrap an ASGI application.

    Before reading a body, it answers 421 to a host name that is not this server's, 403 to requests of other pages, 414
    to long queries, 413 to bodies larger than the allowed images, and 411 to bodies without a length. A content
    security policy forbids browsers to load anything from other servers.

    Args:
        app: The application to guard.
        host: Host name or address that the server listens on.
    """

    def __init__(self, app: Any, host: str) -> None:
        self.app = app
        self.host = host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        status = refusal(scope, self.host)
        if status is not None:
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body"})
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *RAW_HEADERS]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to the host.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
        (True, True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another host name
        return False


def refusal(scope: Any, host: str) -> int | None:
    """Return the HTTP status that refuses a request; None accepts it.

    Example:
        >>> refusal({"method": "GET", "headers": [(b"host", b"rebound.example:7860")]}, "127.0.0.1")
        421
    """
    headers = dict(scope["headers"])
    name = headers.get(b"host", b"").decode("latin-1").lower()
    if [key for key, _ in scope["headers"]].count(b"host") != 1 or not _names_server(_without_port(name), host):
        return 421
    if len(scope.get("query_string", b"")) > LONGEST_QUERY:
        return 414
    if scope["method"] in ("GET", "HEAD"):
        return None
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    if origin and origin.partition("://")[2] != name:
        return 403
    length = headers.get(b"content-length", b"")
    if not length.isdigit() or b"transfer-encoding" in headers:  # a chunked body may exceed any stated length
        return 411
    return 413 if int(length[:20]) > MOST_BODY else None


def _names_server(name: str, host: str) -> bool:
    """Return whether a name in a request is one of the server's.

    A page of another site can make its own name resolve to this server, but it cannot own an address.
    """
    if name == host.lower() or is_loopback(name):
        return True
    return not is_loopback(host) and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _without_port(name: str) -> str:
    """Return a host without port and brackets.

    Example:
        >>> _without_port("localhost:7860"), _without_port("[::1]:7860"), _without_port("[::1]")
        ('localhost', '::1', '::1')
    """
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]
