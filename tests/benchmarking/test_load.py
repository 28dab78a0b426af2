"""The load script, against a small application."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("uvicorn", reason="needs pip install 'qcs-fer[serve]'")

from serving import serving

from benchmarks.load import OUTPUT, PAGE, load, table


def test_a_round_counts_every_answer_and_the_memory_of_the_server() -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    answered = 0

    async def predict(request: Request) -> Response:
        nonlocal answered
        assert await request.body() == b"image"
        answered += 1
        return Response("busy" if answered % 3 == 0 else "ok", 503 if answered % 3 == 0 else 200)

    numbers = Route("/metrics", lambda request: Response("process_resident_memory_bytes 5000000\n"))
    with serving(Starlette(routes=[Route("/v1/predict", predict, methods=["POST"]), numbers])) as port:
        found = load(port, "/v1/predict", "image/png", b"image", 0.5, clients=4)
    assert sum(found["statuses"].values()) == answered > 3
    assert found["refused"] == found["statuses"]["503"] == answered // 3
    assert found["memory, MB"] == {"before": 5, "most": 5}
    assert 0 < found["seconds per answer"]["median"] <= found["seconds per answer"]["slowest"]


def test_the_table_of_the_page_is_that_of_the_committed_record() -> None:
    record = json.loads(OUTPUT.read_text(encoding="utf-8"))
    assert table(record) in PAGE.read_text(encoding="utf-8")
