"""Build the page as an ASGI application: the page itself, sample faces, and the answer to images.

A request holds everything that its answer needs: the server keeps no sessions and writes no files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from qcs.errors import InputError
from qcs.serve.guard import Guard
from qcs.serve.rendering import render, text
from qcs.serve.samples import sample_faces
from qcs.serve.uploads import MEGABYTES, MOST_FACES, MOST_IMAGES

Files = Sequence[tuple[str, bytes]]

MOST_WAITING = 8  # requests
MOST_HELD = 160 * 2**20  # bytes of all requests in memory
BODY_SECONDS = 30  # seconds until a request must have arrived
TITLE = "qcs: what the network compares"


def application(answer: Callable[[Files, bool, Sequence[str]], str], about: str, host: str) -> Guard:
    """Return the guarded page as an ASGI application.

    Args:
        answer: Maps named files, whether each is a cropped face, and the names of the chosen faces to HTML.
        about: A line about the network.
        host: Host name or address that the server listens on.
    """
    samples = sample_faces()
    page = render(
        "page.html",
        title=TITLE,
        about=about,
        most_images=MOST_IMAGES,
        most_faces=MOST_FACES,
        megabytes=MEGABYTES,
        samples=list(samples),
    )
    routes = [
        _file("/", page, "text/html"),
        _file("/page.css", text("page.css"), "text/css"),
        _file("/page.js", text("page.js"), "text/javascript"),
        _file("/favicon.ico", text("icon.svg"), "image/svg+xml"),
        *(_file(f"/samples/{name}", content, "image/png") for name, content in samples.items()),
        Route("/answer", Answers(answer), methods=["POST"]),
    ]
    return Guard(Starlette(routes=routes), host)


class Answers:
    """Answer requests one at a time, within limits of memory, time and waiting requests.

    Args:
        answer: See `application`.
    """

    def __init__(self, answer: Callable[[Files, bool, Sequence[str]], str]) -> None:
        self._answer = answer
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._held = 0  # bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request: status 400 for a wrong one, 408 for a slow one, 503 if the server is busy."""
        request, body = Request(scope, receive), bytearray()
        try:
            response = await self._respond(request, body)
        except InputError as error:
            response = _problem(400, str(error))
        except (asyncio.TimeoutError, TimeoutError):
            response = _problem(408, f"the images did not arrive within {BODY_SECONDS} seconds; drop them again")
        except ClientDisconnect:
            return
        finally:
            self._held -= len(body)
        await response(scope, receive, send)

    async def _respond(self, request: Request, body: bytearray) -> Response:
        if not await asyncio.wait_for(self._read(request, body), BODY_SECONDS) or self._waiting >= MOST_WAITING:
            return _problem(503, "the server is busy with other images; try again in a few seconds")
        files, cropped, chosen = split_body(request.url.query, bytes(body))
        self._waiting += 1
        try:
            async with self._turn:
                if await request.is_disconnected():
                    raise ClientDisconnect
                html = await run_in_threadpool(self._answer, files, cropped, chosen)
        finally:
            self._waiting -= 1
        return Response(html, media_type="text/html")

    async def _read(self, request: Request, body: bytearray) -> bool:
        """Read the body into memory; return False if the requests would hold too much of it."""
        async for chunk in request.stream():
            if self._held + len(chunk) > MOST_HELD:
                return False
            self._held += len(chunk)
            body += chunk
        return True


def split_body(query: str, body: bytes) -> tuple[list[tuple[str, bytes]], bool, list[str]]:
    """Split the body of a request into files.

    The body holds the contents one after another; `name` and `size` of each are in the query, in the same order.

    Returns:
        Names and contents, whether each image is a cropped face, and the names of the chosen faces.

    Raises:
        InputError: If the query does not describe the body.

    Example:
        >>> split_body("name=a.png&size=2&name=b.png&size=1&face=A1", b"xyz")
        ([('a.png', b'xy'), ('b.png', b'z')], False, ['A1'])
    """
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=64)
        names, sizes = fields.get("name", []), [int(size[:20]) for size in fields.get("size", [])]
        if len(names) != len(sizes) or min(sizes, default=0) < 0 or sum(sizes) != len(body):
            raise ValueError
    except ValueError as error:
        raise InputError(
            "the request does not describe its images; reload the page and drop the images again"
        ) from error
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    files = [(name, body[end - size : end]) for name, size, end in zip(names, sizes, ends, strict=True)]
    return files, fields.get("cropped") == ["true"], fields.get("face", [])


def _problem(status: int, problem: str) -> Response:
    return Response(render("problem.html", problem=problem), status, media_type="text/html")


def _file(path: str, content: str | bytes, kind: str) -> Route:
    """Return the route of a file in memory."""
    return Route(path, lambda request: Response(content, media_type=kind), methods=["GET"])
