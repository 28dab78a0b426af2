"""Describe the service as an OpenAPI document."""

from __future__ import annotations

from typing import Any

from qcs.faces.face import LANDMARKS
from qcs.serve.guard import MOST_BODY
from qcs.serve.uploads import KINDS, LONGEST_NAME, MEGABYTES

MOST_PER_REQUEST = 16  # images


def document(version: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document.

    Args:
        version: Version of this library.
        classes: Class names of the network.
    """
    refused = {
        "400": "No image could be read, or the request is not as described.",
        "408": "The request did not arrive in time.",
        "413": f"The body is larger than {MOST_BODY // 2**20} MB.",
        "415": "The body is of another type.",
        "503": "The server is busy; try again in a few seconds.",
    }
    image = {"type": "string", "format": "binary", "description": f"{KINDS}, at most {MEGABYTES} MB."}
    detect = {
        "type": "boolean",
        "default": True,
        "description": "Whether to detect faces; false takes each image as one cropped face.",
    }
    query = [
        {"name": "detect", "in": "query", "schema": detect, "description": "For a body that is an image."},
        {
            "name": "name",
            "in": "query",
            "schema": {"type": "string", "maxLength": LONGEST_NAME},
            "description": "Name of the image in the answer, for a body that is an image.",
        },
    ]
    request = {
        "type": "object",
        "required": ["images"],
        "additionalProperties": False,
        "properties": {
            "images": {
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_PER_REQUEST,
                "items": {
                    "type": "object",
                    "required": ["data"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"type": "string", "maxLength": LONGEST_NAME},
                        "data": {"type": "string", "contentEncoding": "base64", "description": image["description"]},
                    },
                },
            },
            "detect": detect,
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "qcs",
            "version": version,
            "description": "Facial expression recognition. It classifies how a face looks, not what a person feels.",
        },
        "paths": {
            "/v1/predict": {
                "post": {
                    "summary": "Predict the expression of each face in one or more images.",
                    "operationId": "predict",
                    "parameters": query,
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": request},
                            **{kind: {"schema": image} for kind in ("image/jpeg", "image/png", "image/webp")},
                        },
                    },
                    "responses": {
                        "200": _answer("One result per image, in order.", "Answer"),
                        **{status: _answer(text, "Problem") for status, text in refused.items()},
                    },
                }
            },
            "/health": {
                "get": {
                    "summary": "Tell that the server answers, and with which network.",
                    "operationId": "health",
                    "responses": {"200": _answer("It answers.", "Health")},
                }
            },
            "/metrics": {
                "get": {
                    "summary": "Return counters in the text format of Prometheus.",
                    "operationId": "metrics",
                    "responses": {"200": {"description": "Counters.", "content": {"text/plain": {}}}},
                }
            },
        },
        "components": {"schemas": _schemas(classes)},
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": description, "content": {"application/json": {"schema": reference}}}


def _schemas(classes: tuple[str, ...]) -> dict[str, Any]:
    number = {"type": "number"}
    text = {"type": "string"}
    point = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    names = {"type": "array", "items": text}
    return {
        "Answer": _object({"results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}}),
        "Result": _object(
            {
                "name": text,
                "faces": {"type": "array", "items": {"$ref": "#/components/schemas/Face"}},
                "error": {"type": "string", "description": "Why the image could not be read."},
            },
            optional=("error",),
        ),
        "Face": _object(
            {
                "number": {"type": "integer", "minimum": 1, "description": "The largest face is 1."},
                "box": {
                    "type": "array",
                    "items": number,
                    "minItems": 4,
                    "maxItems": 4,
                    "description": "Left, top, right and bottom edge in pixels.",
                },
                "score": {**probability, "description": "The detector's confidence."},
                "landmarks": _object(dict.fromkeys(LANDMARKS, point)),
                "label": {"type": "string", "enum": list(classes)},
                "probabilities": _object(dict.fromkeys(classes, probability)),
            },
            optional=("box", "score", "landmarks"),
        ),
        "Health": _object(
            {"status": {"type": "string", "const": "ok"}, "model": text, "version": text, "classes": names}
        ),
        "Problem": _object({"error": text}),
    }


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
