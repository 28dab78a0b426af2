"""Requests that try to read files, fill memory, disk or connections, or come from other pages."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("uvicorn", reason="needs pip install 'qcs-fer[serve]'")

from serving import serving

from qcs.serve import application as module
from qcs.serve import intake
from qcs.serve.application import application
from qcs.serve.clients import ClientLeftError, check_clients
from qcs.serve.connections import MOST_CONNECTIONS, MOST_LOG_LINES, FirstLines


class Served(NamedTuple):
    """A server with a stub for the network, and what it was asked."""

    port: int
    asked: list[list[tuple[str, bytes]]]
    go_on: threading.Event  # answers wait for it


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    asked: list[list[tuple[str, bytes]]] = []
    go_on = threading.Event()
    go_on.set()

    def answer(files: Sequence[tuple[str, bytes]], cropped: bool, chosen: Sequence[str]) -> str:
        asked.append(list(files))
        go_on.wait(20)
        return "<p>answer</p>"

    app = application(answer, lambda jobs: None, name="", classes=("happy",), about="", host="127.0.0.1")
    with serving(app) as port:
        yield Served(port, asked, go_on)
        go_on.set()
    assert list(tmp_path.iterdir()) == []  # nothing was written


def post(port: int, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def ask(port: int, size: int = 3) -> tuple[int, str]:
    return post(port, f"/answer?name=a.png&size={size}", bytes(size))


def test_files_arrive_in_memory_as_they_were_sent(served: Served) -> None:
    path = "/answer?name=a.png&size=2&name=%C3%A9&size=3&cropped=true"
    assert post(served.port, path, b"abcde") == (200, "<p>answer</p>")
    assert served.asked == [[("a.png", b"ab"), ("é", b"cde")]]


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "fifo", "http://127.0.0.1:9/x", "file:///etc/passwd"])
def test_no_request_makes_the_server_open_a_path_or_an_address(
    served: Served, path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if path == "fifo":
        path = str(tmp_path_factory.mktemp("pipes") / "fifo")
        os.mkfifo(path)
    file = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
    data = json.dumps({"data": [file, False], "fn_index": 0, "session_hash": "x"}).encode()
    for address in ("/gradio_api/queue/join", "/gradio_api/run/answer", "/run/predict", "/gradio_api/upload"):
        assert post(served.port, address, data, content_type="application/json")[0] == 404
    assert post(served.port, "/answer", data)[0] == 400  # its query describes no files
    name = f"/answer?name={path.replace('/', '%2F')}&size={len(data)}"
    assert post(served.port, name, data)[0] == 200
    assert served.asked == [[(path, data)]]  # the name is text, the content is what was sent


@pytest.mark.parametrize(
    "query",
    ["", "name=a", "size=3", "name=a&size=4", "name=a&size=-3", "name=a&size=x", "name=a&size=3&name=b", "a=&" * 100],
)
def test_a_query_that_does_not_describe_the_body_is_refused(served: Served, query: str) -> None:
    status, text = post(served.port, f"/answer?{query}", b"abc")
    assert status == 400 and "the request does not describe its images" in text and served.asked == []


def test_a_page_under_another_name_does_not_reach_it(served: Served) -> None:
    path = "/answer?name=a&size=1"
    assert post(served.port, path, b"x", host="rebound.example")[0] == 421
    assert post(served.port, path, b"x", origin="http://rebound.example")[0] == 403
    assert served.asked == []


def test_names_are_bounded(served: Served) -> None:
    assert post(served.port, f"/answer?name={'n' * 20_000}&size=0")[0] == 414
    assert post(served.port, "/answer?name=a&size=" + "9" * 5000)[0] == 400
    assert served.asked == []


def test_many_large_uploads_at_once_hold_a_bounded_amount_of_memory(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_HELD", 5 * 2**20)
    served.go_on.clear()
    with ThreadPoolExecutor(50) as clients:
        answers = [clients.submit(ask, served.port, 2**20) for _ in range(50)]
        while sum(answer.done() for answer in answers) < 45:  # all but those that fit are refused at once
            time.sleep(0.05)
        served.go_on.set()
        statuses = [answer.result()[0] for answer in answers]
    assert statuses.count(200) <= 5 and statuses.count(503) == 50 - statuses.count(200)
    assert ask(served.port, 2**20)[0] == 200  # the memory is free again


def test_only_so_many_requests_wait(served: Served) -> None:
    served.go_on.clear()
    with ThreadPoolExecutor(20) as clients:
        answers = [clients.submit(ask, served.port) for _ in range(20)]
        while sum(answer.done() for answer in answers) < 20 - module.MOST_WAITING:
            time.sleep(0.05)
        served.go_on.set()
        statuses = [answer.result()[0] for answer in answers]
    assert (statuses.count(200), statuses.count(503)) == (module.MOST_WAITING, 20 - module.MOST_WAITING)


def test_a_slow_request_ends_and_others_are_answered_meanwhile(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_SECONDS", 1)
    head = b"POST /answer?name=a&size=9 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nabc"
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as slow:
        slow.sendall(head)
        assert ask(served.port)[0] == 200
        assert b" 408 " in slow.recv(2**16)


def test_idle_connections_do_not_block_it(served: Served) -> None:
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(3 * MOST_CONNECTIONS)]
    half = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(MOST_CONNECTIONS)]
    try:
        for client in half:
            client.sendall(b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n")
        assert ask(served.port)[0] == 200
    finally:
        for client in idle + half:
            client.close()


def test_an_aborted_request_is_not_answered(served: Served) -> None:
    served.go_on.clear()
    with ThreadPoolExecutor(1) as clients:
        first = clients.submit(ask, served.port)
        while not served.asked:
            time.sleep(0.02)
        with socket.create_connection(("127.0.0.1", served.port)) as aborted:
            aborted.sendall(b"POST /answer?name=a&size=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx")
            time.sleep(0.3)
        served.go_on.set()
        assert first.result()[0] == 200
    assert ask(served.port)[0] == 200
    assert len(served.asked) == 2  # the first and the last


def test_an_analysis_whose_client_left_runs_alone_and_keeps_no_memory_or_place(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An analysis that does not look whether its client is there: it keeps the turn, and gives everything back."""
    size = 2**20
    monkeypatch.setattr(intake, "MOST_HELD", 2 * size)
    served.go_on.clear()
    head = f"POST /answer?name=a&size={size} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", served.port)) as leaving:
        leaving.sendall(head + bytes(size))
        while not served.asked:
            time.sleep(0.02)
    with ThreadPoolExecutor(1) as clients:
        next_one = clients.submit(ask, served.port, size)
        time.sleep(0.3)
        assert len(served.asked) == 1  # it waits
        served.go_on.set()
        assert next_one.result()[0] == 200
    assert ask(served.port, 2 * size)[0] == 200  # all memory is free again


def test_an_analysis_ends_when_its_client_leaves(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def answer(*arguments: object) -> str:
        for _ in range(1000):
            try:
                check_clients()
            except ClientLeftError:
                ended.set()
                raise
            time.sleep(0.02)
        return "<p>too late</p>"

    app = application(answer, lambda jobs: None, name="", classes=("happy",), about="", host="127.0.0.1")
    with serving(app) as port:
        with socket.create_connection(("127.0.0.1", port)) as leaving:
            leaving.sendall(b"POST /answer?name=a&size=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n\r\nx")
            time.sleep(0.5)
            assert not ended.is_set()
        assert ended.wait(10)


def test_the_log_is_bounded() -> None:
    lines = FirstLines()
    records = [logging.makeLogRecord({"msg": "bad request"}) for _ in range(10 * MOST_LOG_LINES)]
    passed = [record for record in records if lines.filter(record)]
    assert len(passed) == MOST_LOG_LINES
    assert passed[-1].getMessage() == "too many messages; no more are shown"
