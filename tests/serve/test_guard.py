"""The server takes what the page needs and nothing else, and browsers load nothing from elsewhere for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qcs.serve.guard import MOST_BODY, Guard


def answered(path: str, method: str = "GET", **headers: str) -> tuple[int, dict[bytes, bytes]]:
    """Status and headers of the answer; what is guarded answers everything with 200."""
    sent: list[Any] = []

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-guarded", b"yes")]})
        await send({"type": "http.response.body"})

    async def receive() -> Any:
        pytest.fail("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": raw}
    asyncio.run(Guard(guarded)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("path", ["/", "/config", "/theme.css", "/static/a.js", "/gradio_api/queue/data"])
def test_what_the_page_needs_passes_and_may_load_from_this_server_alone(path: str) -> None:
    status, headers = answered(path)
    assert (status, headers[b"x-guarded"]) == (200, b"yes")
    assert headers[b"content-security-policy"].startswith(b"default-src 'self';")


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/upload", "/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/deep_link", "/monitoring", "/docs"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_would_store_or_show_files_and_states_is_not_there(path: str, method: str) -> None:
    assert answered(path, method, content_length="0")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_length": str(MOST_BODY + 1)}, 413),
        ({}, 411),
        ({"transfer_encoding": "chunked"}, 411),
        (
            {"content_length": "4", "transfer_encoding": "chunked"},
            411,
        ),  # chunks are read to their end, whatever it says
    ],
)
def test_a_body_that_no_four_images_can_fill_is_refused_unread(headers: dict[str, str], status: int) -> None:
    assert answered("/gradio_api/queue/join", "POST", **headers)[0] == status
    assert answered("/gradio_api/queue/join", "POST", content_length=str(MOST_BODY))[0] == 200
