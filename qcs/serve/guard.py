"""What the page's server takes, and what a browser may load for the page: nothing from elsewhere."""

from __future__ import annotations

from typing import Any

from qcs.serve.uploads import MEGABYTES, MOST_IMAGES

# Everything the page needs. Gradio has more: it would store files and states for whoever asks.
OPEN = ("/config", "/theme.css", "/favicon.ico", "/manifest.json")
OPEN_BELOW = ("/static/", "/assets/", "/gradio_api/queue/", "/gradio_api/heartbeat/")
MOST_BODY = MOST_IMAGES * MEGABYTES * 2**20 * 4 // 3 + 2**16  # bytes: the images in base64, and what goes with them
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; form-action 'none'"
)


class Guard:
    """An ASGI application around another.

    Before anything is read of a body, answers 404 to what the page does not need, 413 to bodies larger than its images
    can be and 411 to those that do not state their length; and forbids browsers to load anything from elsewhere for the
    page.

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
    """The status that a request is refused with; None lets it pass.

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
    if length is None or b"transfer-encoding" in headers:  # in chunks the server reads whatever comes, beyond a length
        return 411
    return 413 if int(length) > MOST_BODY else None
