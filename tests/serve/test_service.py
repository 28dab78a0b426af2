"""The JSON endpoint: answers as described, requests computed together, limits, counters, and clients that leave."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs pip install 'qcs-fer[serve]'")

from fixed_faces import FixedFaces
from PIL import Image
from serving import serving

import qcs
from qcs.serve import intake
from qcs.serve.application import application
from qcs.serve.batches import MOST_TOGETHER, Job, Predictor
from qcs.serve.openapi import MOST_PER_REQUEST
from qcs.serve.uploads import LONGEST_NAME


class Slow(Predictor):
    """A predictor that waits for a signal, and remembers the batches."""

    batches: list[int]
    go_on: threading.Event

    def __call__(self, jobs: Sequence[Job]) -> None:
        self.batches.append(sum(len(job.images) for job in jobs))
        self.go_on.wait(20)
        super().__call__(jobs)


class Served(NamedTuple):
    """A server with an untrained network."""

    port: int
    predict: Slow


@pytest.fixture(scope="module")
def network() -> Any:
    model = qcs.create_model("base_nano", num_classes=3).eval()
    model.name_classes(["happy", "sad", "other"])
    return model


@pytest.fixture
def served(network: Any) -> Iterator[Served]:
    predict = Slow(network, FixedFaces())
    object.__setattr__(predict, "batches", [])
    object.__setattr__(predict, "go_on", threading.Event())
    predict.go_on.set()
    app = application(lambda *_: "", predict, name="base_nano", classes=network.class_names, about="", host="127.0.0.1")
    with serving(app) as port:
        yield Served(port, predict)
        predict.go_on.set()


def png(width: int = 250) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(width).integers(0, 256, (120, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def call(port: int, path: str, body: Any = None, kind: str = "application/json") -> tuple[int, Any]:
    """Send a request; return the status and the parsed answer."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET" if body is None else "POST", path, content, {"content-type": kind})
        response = connection.getresponse()
        text = response.read().decode()
        return response.status, json.loads(text) if "json" in response.headers["content-type"] else text
    finally:
        connection.close()


def encoded(content: bytes, **fields: str) -> dict[str, str]:
    return {"data": base64.b64encode(content).decode(), **fields}


def check(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    """Check a value against the parts of JSON Schema that the document uses."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    kinds = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool}
    assert isinstance(value, kinds[schema["type"]])
    if schema["type"] == "object":
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for name, each in value.items():
            check(each, schema["properties"][name], document)
    if schema["type"] == "array":
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        for each in value:
            check(each, schema["items"], document)
    assert value == schema.get("const", value) and value in schema.get("enum", [value])
    if schema["type"] in ("number", "integer"):
        assert schema.get("minimum", value) <= value <= schema.get("maximum", value)


def test_the_answer_is_as_described_and_as_that_of_the_library(served: Served, network: Any) -> None:
    status, document = call(served.port, "/openapi.json")
    assert status == 200 and document["openapi"].startswith("3.1")
    content, bad = png(), b"no image"
    body = {"images": [encoded(content, name="a.png"), encoded(bad), encoded(png(90))]}
    status, answer = call(served.port, "/v1/predict", body)
    assert status == 200
    check(answer, {"$ref": "#/components/schemas/Answer"}, document)
    first, second, third = answer["results"]
    assert [result["name"] for result in answer["results"]] == ["a.png", "image 2", "image 3"]
    assert (len(first["faces"]), second["faces"], third["faces"]) == (2, [], [])
    assert second["error"] == "image 2 is not a readable image; expected JPEG, PNG or WebP"
    (wanted,) = qcs.engine.predict_faces(network, content, detector=FixedFaces())
    for ours, other in zip(first["faces"], wanted.to_dict()["faces"], strict=True):
        assert ours["box"] == other["box"] and ours["label"] == other["label"]
        assert list(ours["probabilities"].values()) == pytest.approx(list(other["probabilities"].values()), abs=1e-5)

    status, answer = call(served.port, "/health")
    check(answer, {"$ref": "#/components/schemas/Health"}, document)
    described = set(document["paths"])
    assert described == {"/v1/predict", "/health", "/metrics"}
    for path in described - {"/v1/predict"}:
        assert call(served.port, path)[0] == 200


def test_an_image_alone_is_a_body(served: Served) -> None:
    status, answer = call(served.port, "/v1/predict?name=%C3%A9.png", png(), "image/png")
    assert status == 200 and answer["results"][0]["name"] == "é.png" and len(answer["results"][0]["faces"]) == 2
    status, answer = call(served.port, "/v1/predict?detect=false", png(), "image/png")
    (face,) = answer["results"][0]["faces"]
    assert set(face) == {"number", "label", "probabilities"}


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"x", "text/plain", 415, "the body is text/plain; expected application/json or an image"),
        (b"{", "application/json", 400, "the body is no JSON: "),
        (b"[" * 100_000, "application/json", 400, "the body is no JSON: "),
        ({"images": []}, "application/json", 400, "expected an object with images, a list of 1 to 16"),
        ({"images": [{}] * (MOST_PER_REQUEST + 1)}, "application/json", 400, "expected an object with images"),
        ({"images": [{"data": "x"}], "url": "file:///etc/passwd"}, "application/json", 400, "expected an object with"),
        ({"images": [{"path": "/etc/passwd"}]}, "application/json", 400, "image 1 is not as expected"),
        ({"images": [{"data": "?"}]}, "application/json", 400, "the data of image 1 is no base64: "),
        ({"images": [encoded(b"x", name="n" * (LONGEST_NAME + 1))]}, "application/json", 400, "the name of image 1 is"),
        ({"images": [encoded(b"x")], "detect": 1}, "application/json", 400, "detect is no boolean"),
        ({"images": [encoded(b"x")]}, "application/json", 400, "image 1 is not a readable image"),
        (b"", "image/png", 400, "image 1 is not a readable image"),
        ({"images": [encoded(b"x", name="\ud800")]}, "application/json", 400, r"\ud800 is not a readable image"),
    ],
)
def test_bad_requests_get_one_line(served: Served, body: Any, kind: str, status: int, message: str) -> None:
    found, answer = call(served.port, "/v1/predict", body, kind)
    assert found == status and answer["error"].startswith(message) and set(answer) == {"error"}


def test_the_guard_is_that_of_the_page(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    for headers, status in (({"host": "rebound.example"}, 421), ({"origin": "http://rebound.example"}, 403)):
        connection.request("POST", "/v1/predict", png(), {"content-type": "image/png", **headers})
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, b"")
        connection.close()
    assert served.predict.batches == []


def test_requests_that_wait_are_computed_together(served: Served) -> None:
    served.predict.go_on.clear()
    with ThreadPoolExecutor(12) as clients:
        answers = [clients.submit(call, served.port, "/v1/predict", png(), "image/png") for _ in range(12)]
        while metric(served.port, "qcs_waiting_requests") < 12:
            time.sleep(0.05)
        served.predict.go_on.set()
        assert [answer.result()[0] for answer in answers] == [200] * 12
    assert (
        sum(served.predict.batches) == 12 and len(served.predict.batches) <= 2
    )  # what comes first, then all that wait
    assert max(served.predict.batches) <= MOST_TOGETHER


def test_requests_whose_clients_left_are_not_computed(served: Served) -> None:
    served.predict.go_on.clear()
    image = png()
    fields = ["Host: 127.0.0.1", "Content-Type: image/png", f"Content-Length: {len(image)}"]
    head = "\r\n".join(["POST /v1/predict HTTP/1.1", *fields, "", ""])
    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(call, served.port, "/v1/predict", image, "image/png")
        while not served.predict.batches:
            time.sleep(0.02)
        with socket.create_connection(("127.0.0.1", served.port)) as leaving:
            leaving.sendall(head.encode() + image)
            while metric(served.port, "qcs_waiting_requests") < 2:
                time.sleep(0.02)
        served.predict.go_on.set()
        assert first.result()[0] == 200
    while metric(served.port, "qcs_waiting_requests"):
        time.sleep(0.02)
    assert served.predict.batches == [1]


def metric(port: int, name: str) -> float:
    """Return a number of the metrics."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", call(port, "/metrics")[1], re.MULTILINE)
    assert found
    return float(found[1])


def test_metrics_count_requests_images_and_faces(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(served.port, "/v1/predict", png(), "image/png")[0] == 200
    assert call(served.port, "/v1/predict", b"", "image/png")[0] == 400
    assert call(served.port, "/made-up-1")[0] == call(served.port, "/made-up-2")[0] == 404
    monkeypatch.setattr(intake, "MOST_HELD", 10)
    assert call(served.port, "/v1/predict", png(), "image/png")[0] == 503
    for name, value in {
        'qcs_requests_total{path="/v1/predict",status="200"}': 1,
        'qcs_requests_total{path="/v1/predict",status="400"}': 1,
        'qcs_requests_total{path="/v1/predict",status="503"}': 1,
        'qcs_requests_total{path="other",status="404"}': 2,
        'qcs_request_seconds_bucket{path="/v1/predict",le="+Inf"}': 3,
        'qcs_request_seconds_count{path="/v1/predict"}': 3,
        "qcs_images_total": 2,
        "qcs_faces_total": 2,
        "qcs_batches_total": 2,
        "qcs_held_bytes": 0,
    }.items():
        assert metric(served.port, name) == value, name
    text = call(served.port, "/metrics")[1]
    line = r'(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"\\]*",?)+\})? (\d+(\.\d+)?(e[+-]\d+)?|nan))'
    assert all(re.fullmatch(line, each) for each in text.splitlines()) and text.endswith("\n")
