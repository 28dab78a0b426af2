"""Answer images with JSON: the endpoint `/v1/predict`, and what watches over the service."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from qcs.errors import InputError, brief
from qcs.escaping import encodable
from qcs.faces import Faces
from qcs.serve.batches import Batches, Job
from qcs.serve.clients import Client, ClientLeftError
from qcs.serve.intake import Intake, RefusedError
from qcs.serve.metrics import CONTENT_TYPE, Gauges, Metrics
from qcs.serve.openapi import MOST_PER_REQUEST, document
from qcs.serve.uploads import LONGEST_NAME
from qcs.version import __version__

MOST_QUEUED = 64  # requests
PREDICT, HEALTH, METRICS, OPENAPI = "/v1/predict", "/health", "/metrics", "/openapi.json"
IMAGE_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")


class Predictions:
    """Answer requests for predictions.

    Args:
        batches: Computes them.
        intake: Reads bodies within the limits of the server.

    Attributes:
        images: Number of images answered.
        faces: Number of faces found in them.
    """

    def __init__(self, batches: Batches, intake: Intake) -> None:
        self._batches = batches
        self._intake = intake
        self.images = 0
        self.faces = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request: status 400 if no image can be read, 408 or 503 as `Intake` says, 415 for other bodies."""
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except RefusedError as error:
            response = _problem(error.status, str(error))
        except InputError as error:
            response = _problem(400, str(error))
        except (ClientDisconnect, ClientLeftError):
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        async with self._intake.body(request, MOST_QUEUED) as body:
            images, detect = read_request(request.headers.get("content-type", ""), dict(request.query_params), body)
            found = await self._batches.run(Job(images, detect, Client(request)))
        self.images += len(found)
        self.faces += sum(map(len, found))
        if all(faces.error is not None for faces in found):
            raise InputError("; ".join(str(faces.error) for faces in found))
        return JSONResponse({"results": [_record(name, faces) for (name, _), faces in zip(images, found, strict=True)]})


def read_request(kind: str, query: dict[str, str], body: bytes) -> tuple[Sequence[tuple[str, bytes]], bool]:
    """Read the images of a request, and whether to detect faces in them.

    Args:
        kind: The content type of the body: an image, or JSON.
        query: Fields of the query, for a body that is an image.
        body: The body.

    Returns:
        Name and content of each image; and whether to detect faces.

    Raises:
        InputError: If the request is not as the OpenAPI document describes it.
        RefusedError: With status 415 if the body is of another type.

    Example:
        >>> read_request("image/png", {"detect": "false"}, b"abc")
        ([('image 1', b'abc')], False)
        >>> read_request("application/json", {}, b'{"images": [{"data": "YWJj", "name": "a.png"}]}')
        ([('a.png', b'abc')], True)
    """
    kind = kind.partition(";")[0].strip().lower()
    if kind in IMAGE_TYPES:
        detect = query.get("detect", "true")
        if detect not in ("true", "false"):
            raise InputError(f"detect is {brief(detect)!r}; expected true or false")
        return [(_named(query.get("name"), 1), body)], detect == "true"
    if kind != "application/json":
        raise RefusedError(415, f"the body is {brief(kind) or 'of no type'}; expected application/json or an image")
    try:
        stated = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body is no JSON: {brief(str(error))}") from error
    listed = stated.get("images") if isinstance(stated, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_PER_REQUEST or set(stated) - {"images", "detect"}:
        raise InputError(
            f"expected an object with images, a list of 1 to {MOST_PER_REQUEST}, and optionally detect; see {OPENAPI}"
        )
    if not isinstance(detects := stated.get("detect", True), bool):
        raise InputError("detect is no boolean; expected true or false")
    return [_image(each, number) for number, each in enumerate(listed, 1)], detects


def _image(stated: Any, number: int) -> tuple[str, bytes]:
    if not isinstance(stated, dict) or not isinstance(stated.get("data"), str) or set(stated) - {"data", "name"}:
        raise InputError(f"image {number} is not as expected: an object with data, base64, and optionally a name")
    try:
        content = base64.b64decode(stated["data"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"the data of image {number} is no base64: {brief(str(error))}") from error
    return _named(stated.get("name"), number), content


def _named(name: Any, number: int) -> str:
    if name is None:
        return f"image {number}"
    if not isinstance(name, str) or len(name) > LONGEST_NAME:
        raise InputError(f"the name of image {number} is no text of at most {LONGEST_NAME} characters")
    return encodable(name)


def _record(name: str, faces: Faces) -> dict[str, Any]:
    error = {} if faces.error is None else {"error": faces.error}
    return {"name": name, "faces": faces.to_dict()["faces"], **error}


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"error": encodable(message)}, status)


def service_routes(predictions: Predictions, model: str, classes: Sequence[str]) -> list[Route]:
    """Return the routes of the service, without that of the metrics.

    Args:
        predictions: Answers requests for predictions.
        model: Name of the network.
        classes: Its class names.
    """
    health = {"status": "ok", "model": model, "version": __version__, "classes": list(classes)}
    described = document(__version__, tuple(classes))
    return [
        Route(PREDICT, predictions, methods=["POST"]),
        Route(HEALTH, lambda request: JSONResponse(health), methods=["GET"]),
        Route(OPENAPI, lambda request: JSONResponse(described), methods=["GET"]),
    ]


def metrics_route(metrics: Metrics, gauges: Gauges) -> Route:
    """Return the route of the metrics."""
    return Route(METRICS, lambda request: Response(metrics.text(gauges), media_type=CONTENT_TYPE), methods=["GET"])


def gauges(predictions: Predictions, batches: Batches, intake: Intake) -> Gauges:
    """Return the numbers that the parts of the service count."""
    return {
        "qcs_images_total": ("Images answered.", lambda: predictions.images),
        "qcs_faces_total": ("Faces found in them.", lambda: predictions.faces),
        "qcs_batches_total": ("Batches computed.", lambda: batches.count),
        "qcs_batched_images_total": ("Images in these batches.", lambda: batches.images),
        "qcs_waiting_requests": ("Requests that wait or are computed.", lambda: intake.waiting),
        "qcs_held_bytes": ("Bytes of request bodies in memory.", lambda: intake.held),
        "process_resident_memory_bytes": ("Memory of the process.", _memory),
    }


def _memory() -> float:
    """Return the resident memory in bytes; not a number where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return float("nan")
