"""The server accepts what the page sends and nothing else, and browsers load nothing from elsewhere for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qcs.serve.guard import MOST_BODY, Guard


def answered(method: str = "GET", listening: str = "127.0.0.1", **headers: str) -> tuple[int, dict[bytes, bytes]]:
    """Return status and headers of the answer; the guarded application answers everything with 200."""
    sent: list[Any] = []

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-guarded", b"yes")]})
        await send({"type": "http.response.body"})

    async def receive() -> Any:
        pytest.fail("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    named = {"host": "127.0.0.1:7860", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    scope = {"type": "http", "path": "/answer", "method": method, "headers": raw}
    asyncio.run(Guard(guarded, listening)(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"])


def test_the_page_may_load_from_this_server_alone_and_runs_no_inline_script() -> None:
    status, headers = answered()
    assert (status, headers[b"x-guarded"]) == (200, b"yes")
    policy = headers[b"content-security-policy"].decode()
    assert policy.startswith("default-src 'none';") and "script-src 'self';" in policy


@pytest.mark.parametrize(
    ("listening", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:7860", 200),
        ("127.0.0.1", "localhost:7860", 200),
        ("127.0.0.1", "LOCALHOST", 200),
        ("::1", "[::1]:7860", 200),
        ("127.0.0.1", "rebound.example:7860", 421),
        ("127.0.0.1", "127.0.0.1.rebound.example", 421),
        ("127.0.0.1", "localhost.rebound.example", 421),
        ("127.0.0.1", "10.0.0.7", 421),
        ("127.0.0.1", "", 421),
        ("0.0.0.0", "10.0.0.7:7860", 200),
        ("0.0.0.0", "rebound.example", 421),
        ("faces.lan", "faces.lan:7860", 200),
        ("faces.lan", "rebound.example", 421),
    ],
)
def test_a_name_that_is_not_the_servers_is_refused(listening: str, host: str, status: int) -> None:
    assert answered(listening=listening, host=host)[0] == status


def test_a_request_from_another_page_is_refused() -> None:
    assert answered("POST", content_length="0", origin="http://127.0.0.1:7860")[0] == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:8000"):
        assert answered("POST", content_length="0", origin=origin)[0] == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_length": str(MOST_BODY + 1)}, 413),
        ({"content_length": "9" * 5000}, 413),
        ({"content_length": "-1"}, 411),
        ({"content_length": "many"}, 411),
        ({}, 411),
        ({"transfer_encoding": "chunked"}, 411),
        ({"content_length": "4", "transfer_encoding": "chunked"}, 411),  # chunks are read to their end
    ],
)
def test_a_body_that_no_four_images_can_fill_is_refused_unread(headers: dict[str, str], status: int) -> None:
    assert answered("POST", **headers)[0] == status
    assert answered("POST", content_length=str(MOST_BODY))[0] == 200
