"""Restrict the requests that the server accepts and the resources that a browser may load for the page."""

from __future__ import annotations

from typing import Any

from qcs.serve.uploads import MEGABYTES, MOST_IMAGES

# All paths that the page needs. Gradio offers more, such as storing files for anyone who asks.
OPEN = ("/config", "/theme.css", "/favicon.ico", "/manifest.json")
OPEN_BELOW = ("/static/", "/assets/", "/gradio_api/queue/", "/gradio_api/heartbeat/")
MOST_BODY = MOST_IMAGES * MEGABYTES * 2**20 * 4 // 3 + 2**16  # bytes: the images in base64, and the rest of a request
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; form-action 'none'"
)


class Guard:
    """Wrap an ASGI application.

    Before reading a body, it answers 404 to paths that the page does not need, 413 to bodies larger than the allowed
    images, and 411 to bodies without a length. A content security policy forbids browsers to load anything from other
    servers.

    Args:
        app: The application to guard.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        status = refusal(scope) if scope["type"] == "http" else None
        if status is not None:
            await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def refusal(scope: Any) -> int | None:
    """Return the HTTP status that refuses a request; None accepts it.

    Example:
        >>> refusal({"path": "/gradio_api/upload", "method": "POST", "headers": []})
        404
    """
    path = scope["path"]
    if path != "/" and path not in OPEN and not path.startswith(OPEN_BELOW):
        return 404
    if scope["method"] in ("GET", "HEAD"):
        return None
    headers = dict(scope["headers"])
    length = headers.get(b"content-length")
    if length is None or b"transfer-encoding" in headers:  # a chunked body may exceed any stated length
        return 411
    return 413 if int(length) > MOST_BODY else None
