"""The page in a real browser: faces in, predictions and maps out; nothing stored, nothing fetched, a clean end."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from browser import PHONE, opened
from fixed_faces import needs_extra
from PIL import Image

import qcs
from qcs import cli
from qcs.data.synthetic import synthetic_faces
from qcs.errors import InputError
from qcs.models import save_model
from qcs.serve.uploads import MEGABYTES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

needs_server = pytest.mark.skipif(
    importlib.util.find_spec("uvicorn") is None, reason="needs pip install 'qcs-fer[serve]'"
)


class Served(NamedTuple):
    """A running page, and folders where whatever it stored would be."""

    process: subprocess.Popen[str]
    address: str
    home: Path
    temporary: Path


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """`qcs serve` with fresh weights, on a free port."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir(), temporary.mkdir()
    weights = save_model(qcs.create_model("qcs_nano"), tmp_path / "weights.safetensors")
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "XDG_CACHE_HOME")}
    process = subprocess.Popen(
        [sys.executable, "-m", "qcs", "serve", str(weights), "--port", "0"],
        env={**kept, "HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        started = re.match(r"serving qcs_nano at (http://127\.0\.0\.1:\d+); press Ctrl-C to stop\n", line)
        assert started, line + process.communicate()[1]
        yield Served(process, started[1], home, temporary)
    finally:
        process.kill()
        process.communicate()


def face_files(folder: Path, count: int) -> list[Path]:
    """Image files of synthetic faces."""
    files = [folder / f"face{number}.png" for number in range(count)]
    for file, image in zip(files, synthetic_faces(count, size=96).images, strict=True):
        Image.fromarray(image).save(file)
    return files


def files_below(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow
@needs_extra
@needs_server
def test_the_page_reads_and_compares_faces_refuses_what_is_too_much_and_leaves_nothing(
    served: Served, browser: Browser, tmp_path: Path
) -> None:
    files = face_files(tmp_path, 5)
    big = tmp_path / "big.jpg"
    big.write_bytes(bytes(MEGABYTES * 2**20 + 1))
    blank = tmp_path / "blank.png"
    Image.new("RGB", (96, 96), "gray").save(blank)
    broken = tmp_path / "broken.png"
    broken.write_bytes(files[0].read_bytes()[:300])

    with opened(browser, served.address, PHONE, "dark") as watched:
        page = watched.page
        add = page.locator(".qcs-drop input").set_input_files

        def see(text: str) -> None:
            page.get_by_text(text).first.wait_for(timeout=60_000)

        refused = page.locator(".qcs-drop + .qcs-problem")

        add(files[:2])
        see("Pairs: cross similarity")
        see("Add 2 more to see it")
        assert page.locator(".qcs-photo rect").count() == page.locator(".qcs-shares").count() == 2
        assert page.locator(".qcs-tag").all_inner_texts() == ["A1", "B1"]
        assert page.locator(".qcs-matrix:visible").count() == 3

        add(blank)
        see("no face found in blank.png; choose a photo with an upright, fully visible face")
        assert page.locator(".qcs-shares").count() == 0
        page.get_by_label("Each image is a cropped face").check()
        see("Add 1 more to see it")
        page.get_by_label("Remove blank.png").click()

        add(big)
        refused.get_by_text("big.jpg is larger than 10 MB; shrink it or choose another.").wait_for()
        add(broken)
        see("broken.png is not a readable image; expected JPEG, PNG or WebP")
        page.get_by_label("Remove broken.png").click()

        add(files[2:])
        refused.get_by_text("face4.png: at most 4 images; remove one first.").wait_for()
        see("Attention: comparing all four faces")
        assert page.locator(".qcs-chosen li").count() == page.locator(".qcs-shares").count() == 4

        page.locator('.qcs-faces input[value="D1"]').uncheck()
        see("Add 1 more to see it")
        page.get_by_text("Use sample faces").click()
        see("happy-1.png")
        see("Attention: comparing all four faces")

        assert not watched.scrolls_sideways and sum(watched.background) < 150
        assert [url for url in watched.requests if not url.startswith(served.address)] == []
        assert watched.errors == []

        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{served.address}/upload", data=files[0].read_bytes())
        served.process.send_signal(signal.SIGINT)
        out, err = served.process.communicate(timeout=30)
    assert (served.process.returncode, out, err) == (0, "", "")
    assert files_below(served.temporary) == [] and not list(served.temporary.glob("qcs-*"))
    assert [name for name in files_below(served.home) if "matplotlib" not in name] == []


@pytest.mark.slow
@needs_extra
@needs_server
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_end_it_without_a_file_or_a_line(served: Served, name: str) -> None:
    with socket.create_connection(("127.0.0.1", int(served.address.rpartition(":")[2]))):  # an idle client
        served.process.send_signal(getattr(signal, name))
        out, err = served.process.communicate(timeout=30)
    assert (served.process.returncode, out, err) == (0, "", "")
    assert files_below(served.temporary) == []


@needs_extra
@needs_server
def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    from qcs.serve.server import serve

    weights = save_model(qcs.create_model("qcs_nano"), tmp_path / "weights.safetensors")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=f"^cannot listen on 127.0.0.1, port {port}: Address already in use; choose"
        ):
            serve(str(weights), "127.0.0.1", port, "fer2013", print)


@pytest.mark.parametrize(("chosen", "used"), [(None, "arcface"), ("loose", "loose")])
def test_faces_are_cut_out_as_the_weights_say_or_as_chosen(
    chosen: str | None, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qcs.serve import server

    answers: list[Any] = []
    monkeypatch.setattr(server, "MTCNN", lambda: None)
    monkeypatch.setattr(server, "application", lambda answer, predict, **about: answers.extend((answer, predict)))
    monkeypatch.setattr(server, "_run", lambda app, listener: None)
    weights = save_model(qcs.create_model("qcs_nano"), tmp_path / "weights.safetensors", info={"crop": "arcface"})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        server.serve(str(weights), "127.0.0.1", 0, chosen, print)
    assert [answer.crop for answer in answers] == [used, used]
    assert any("was trained with the crop arcface, not loose" in str(w.message) for w in warned) is bool(chosen)


def test_an_unknown_crop_is_refused_before_anything_is_loaded() -> None:
    from qcs.serve.server import serve

    with pytest.raises(InputError, match="crop must be one of fer2013, arcface, loose; got 'tight'"):
        serve("no weights", "127.0.0.1", 0, "tight", print)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_a_host_that_others_reach_is_warned_of(
    host: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = []
    monkeypatch.setattr("qcs.cli.serve.require", lambda *names, extra: None)
    monkeypatch.setattr("qcs.serve.server.serve", lambda *arguments: called.append(arguments[1]))
    cli.serve.serve(host=host)
    assert called == [host]
    assert ("anyone who can reach 0.0.0.0 can use the page" in capsys.readouterr().err) is warned


def test_without_the_extra_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else known(name))
    with pytest.raises(InputError, match=r"^this command needs uvicorn; run: pip install 'qcs-fer\[serve\]'$"):
        cli.serve.serve()
