"""Build the ASGI application: the page, sample faces, the answer to images, and the service.

A request holds everything that its answer needs: the server keeps no sessions and writes no files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from qcs.errors import InputError
from qcs.serve.batches import Batches, Predictor
from qcs.serve.clients import Client, ClientLeftError, run_for
from qcs.serve.guard import Guard
from qcs.serve.intake import Intake, RefusedError
from qcs.serve.metrics import Metrics
from qcs.serve.rendering import render, text
from qcs.serve.samples import sample_faces
from qcs.serve.service import METRICS, Predictions, gauges, metrics_route, service_routes
from qcs.serve.uploads import MEGABYTES, MOST_FACES, MOST_IMAGES

Files = Sequence[tuple[str, bytes]]

MOST_WAITING = 8  # requests of the page
TITLE = "qcs: what the network compares"


def application(
    answer: Callable[[Files, bool, Sequence[str]], str],
    predict: Predictor,
    *,
    name: str,
    classes: Sequence[str],
    about: str,
    host: str,
) -> Metrics:
    """Return the guarded page and service as one ASGI application.

    Args:
        answer: Maps named files, whether each is a cropped face, and the names of the chosen faces to HTML.
        predict: Predicts the images of the service.
        name: Name of the network.
        classes: Its class names.
        about: A line about it.
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
    turn, intake = asyncio.Lock(), Intake()  # one analysis at a time, for page and service
    batches = Batches(predict, turn)
    predictions = Predictions(batches, intake)
    routes = [
        _file("/", page, "text/html"),
        _file("/page.css", text("page.css"), "text/css"),
        _file("/page.js", text("page.js"), "text/javascript"),
        _file("/favicon.ico", text("icon.svg"), "image/svg+xml"),
        *(_file(f"/samples/{name}", content, "image/png") for name, content in samples.items()),
        Route("/answer", Answers(answer, turn, intake), methods=["POST"]),
        *service_routes(predictions, name, classes),
    ]
    app = Starlette(routes=routes)
    metrics = Metrics(Guard(app, host), [*(route.path for route in routes), METRICS])
    app.routes.append(metrics_route(metrics, gauges(predictions, batches, intake)))
    return metrics


class Answers:
    """Answer requests of the page one at a time, within limits of memory, time and waiting requests.

    Args:
        answer: See `application`.
        turn: The lock that lets one analysis run at a time.
        intake: Reads bodies within the limits of the server.
    """

    def __init__(self, answer: Callable[[Files, bool, Sequence[str]], str], turn: asyncio.Lock, intake: Intake) -> None:
        self._answer = answer
        self._turn = turn
        self._intake = intake

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request: status 400 for a wrong one, 408 for a slow one, 503 if the server is busy."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except InputError as error:
            response = _problem(400, str(error))
        except RefusedError as error:
            response = _problem(error.status, str(error))
        except (ClientDisconnect, ClientLeftError):
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        async with self._intake.body(request, MOST_WAITING) as body:
            files, cropped, chosen = split_body(request.url.query, body)
            client = Client(request)
            async with self._turn:
                if await client.has_left():
                    raise ClientLeftError
                html = await run_for([client], partial(self._answer, files, cropped, chosen))
        return Response(html, media_type="text/html")


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
