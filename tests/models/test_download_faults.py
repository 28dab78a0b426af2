"""Downloads that go wrong: what may pass is tried again, the rest ends in one line, and the cache stays whole."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from local_hub import Fault, LocalHub, Repository
from torch import nn

import qcs
from qcs.errors import InputError
from qcs.models import _hub_calls, save_model
from qcs.publish.repository import Publication, write_repository

WEIGHTS = r"resolve/\w+/model\.safetensors"
NAME = "hf-hub:me/faces"
FACES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What is published."""
    folder = tmp_path_factory.mktemp("published")
    weights = save_model(qcs.create_model("base_nano"), folder / "weights.safetensors")
    write_repository(Publication.of(weights, "me/faces"), folder / "faces")
    return {path.name: path.read_bytes() for path in (folder / "faces").iterdir()}


@pytest.fixture
def published(hub: LocalHub, files: dict[str, bytes]) -> LocalHub:
    """The Hub with that repository."""
    publish(hub, files)
    return hub


def publish(hub: LocalHub, files: dict[str, bytes]) -> None:
    hub.repositories["me/faces"] = Repository()
    hub.repositories["me/faces"].commit("main", files)


def load() -> nn.Module:
    return qcs.create_model(NAME, pretrained=True)


def is_whole(cache: Path, files: dict[str, bytes]) -> bool:
    """Whether the cache holds nothing but whole files."""
    known = {hashlib.sha256(content).hexdigest() for content in files.values()}
    blobs = [path for path in cache.rglob("*") if path.is_file() and "blobs" in path.parts]
    return all(hashlib.sha256(path.read_bytes()).hexdigest() in known for path in blobs)


PASSING = {
    "429, first request": (Fault(r"HEAD .*config", 429), 0),
    "429 with a time to wait": (Fault(f"GET .*{WEIGHTS}", 429, headers={"Retry-After": "7"}), 1),
    "503, first request, three times": (Fault(f"HEAD .*{WEIGHTS}", 503, times=3), 2),
    "500, download": (Fault(f"GET .*{WEIGHTS}", 500), 1),
    "502, download, three times": (Fault(f"GET .*{WEIGHTS}", 502, times=3), 3),
    "cut before the answer, first request": (Fault(r"HEAD .*config"), 1),
    "cut before the answer, download": (Fault(f"GET .*{WEIGHTS}"), 1),
    "cut in the middle": (Fault(f"GET .*{WEIGHTS}", after=700_000), 1),
    "cut in the middle, four times": (Fault(f"GET .*{WEIGHTS}", after=300_000, times=4), 4),
}


@pytest.mark.parametrize(("fault", "pauses"), PASSING.values(), ids=PASSING)
def test_download_survives_what_passes(
    published: LocalHub, files: dict[str, bytes], cache: Path, waits: list[float], fault: Fault, pauses: int
) -> None:
    fault = Fault(fault.request, fault.status, fault.after, fault.times, fault.headers)
    published.faults.append(fault)
    model = load()
    assert fault.times == 0
    assert len(waits) >= pauses
    assert sum(waits) < 20
    assert is_whole(cache, files)
    assert model(FACES).shape == (2, 7)


def test_download_goes_on_where_it_was_cut(published: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what arrived in whole chunks is kept
    published.faults.append(Fault(f"GET .*{WEIGHTS}", after=700_000))
    load()
    ranges = [
        line.rpartition("bytes=")[2] for line in published.requests if line.startswith("GET") and "bytes=" in line
    ]
    assert len(ranges) == 1
    assert 0 < int(ranges[0].rstrip("-")) <= 700_000


LASTING = {
    "401": (
        Fault("HEAD", 401),
        InputError,
        r"does not accept your token \(401\) \(made to fail\); run 'hf auth login'",
    ),
    "403": (Fault("HEAD", 403), InputError, r"your token does not permit it \(403\) \(made to fail\)"),
    "404": (Fault("HEAD", 404, headers={"X-Error-Code": "RepoNotFound"}), InputError, "has no such repository"),
    "gated": (Fault("HEAD", 403, headers={"X-Error-Code": "GatedRepo"}), InputError, "grants access on request"),
    "410": (Fault("HEAD", 410), InputError, "answered 410"),
    "429": (Fault("HEAD", 429), OSError, r"limits how much you may ask of it \(429\); wait"),
    "429, download": (Fault(f"GET .*{WEIGHTS}", 429), OSError, r"limits how much you may ask of it \(429\); wait"),
    "429, hours": (Fault(f"GET .*{WEIGHTS}", 503, headers={"Retry-After": "7200"}), OSError, "problem of its own"),
    "500": (Fault("HEAD", 500), OSError, r"has a problem of its own \(500\); try again later"),
    "503, download": (Fault(f"GET .*{WEIGHTS}", 503), OSError, r"has a problem of its own \(503\); try again later"),
    "cut": (
        Fault("HEAD"),
        OSError,
        r"the connection to http.* broke off \(.*\); nothing half-done was kept, try again",
    ),
    "cut, download": (Fault(f"GET .*{WEIGHTS}"), OSError, "broke off"),
}


@pytest.mark.parametrize(("fault", "kind", "message"), LASTING.values(), ids=LASTING)
def test_fault_that_lasts_is_named_and_leaves_no_trace(
    published: LocalHub,
    files: dict[str, bytes],
    cache: Path,
    waits: list[float],
    fault: Fault,
    kind: type[Exception],
    message: str,
) -> None:
    published.faults.append(Fault(fault.request, fault.status, fault.after, 1000, fault.headers))
    with pytest.raises(
        kind, match=r"^cannot fetch (config\.json|model\.safetensors) of me/faces.*" + message
    ) as caught:
        load()
    assert "\n" not in str(caught.value)
    assert is_whole(cache, files)
    assert sum(waits) < 200
    published.faults.clear()
    assert load()(FACES).shape == (2, 7)


def test_cache_serves_while_the_hub_is_away(published: LocalHub) -> None:
    load()
    published.faults.append(Fault("", 503, times=1000))
    assert load()(FACES).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf-hub:me/nothing", r"cannot fetch config\.json of me/nothing: http.* has no such repository"),
        ("hf-hub:me/faces@v9", r"cannot fetch config\.json of me/faces@v9: the repository has no such revision"),
        ("hf-hub:a/b/c", r"a repository's name is ORG/NAME"),
        ("hf-hub:", r"a repository's name is ORG/NAME"),
        ("local-dir:nowhere", r"nowhere is not the folder of a repository: it has no config\.json"),
    ],
)
def test_names_of_nothing_are_refused(published: LocalHub, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        qcs.create_model(name, pretrained=True)


def test_no_network_is_said(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/{revision}/{filename}")
    with pytest.raises(OSError, match=r"no connection to http://127.0.0.1:9 \(.*\); check the network and HF_ENDPOINT"):
        load()


def test_offline_mode_takes_what_is_cached_and_says_what_is_not(
    published: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"offline mode is on \(HF_HUB_OFFLINE\) and it is not in the cache"):
        load()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    expected = load().eval()(FACES)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    published.requests.clear()
    assert torch.equal(load().eval()(FACES), expected)
    assert published.requests == []


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can grow beyond 100 kB."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_is_said_and_leaves_no_trace(
    published: LocalHub, files: dict[str, bytes], cache: Path, small_disk: None
) -> None:
    with pytest.raises(OSError, match=r"cannot fetch model\.safetensors of me/faces.*File too large.*HF_HOME"):
        load()
    assert is_whole(cache, files)


def changed(config: bytes, **section: Any) -> bytes:
    """A configuration with changes in this library's section."""
    content = json.loads(config)
    content["qcs"].update(section)
    return json.dumps(content).encode()


def other_weights(files: dict[str, bytes]) -> dict[str, bytes]:
    content = files["model.safetensors"]
    return {**files, "model.safetensors": content[:-4] + bytes(4)}


def without_checksum(files: dict[str, bytes], **changes: bytes) -> dict[str, bytes]:
    return {**files, "config.json": changed(files["config.json"], sha256={}), **changes}


WRONG = {
    "other weights": (other_weights, r"is not the file that config\.json describes: its SHA-256 is \w{12}…, expected"),
    "cut short": (
        lambda files: {**files, "model.safetensors": files["model.safetensors"][:-1000]},
        r"is not the file that config\.json describes",
    ),
    "cut short, no checksum": (
        lambda files: without_checksum(files) | {"model.safetensors": files["model.safetensors"][:-1000]},
        "is not a complete safetensors file",
    ),
    "no safetensors, no checksum": (
        lambda files: without_checksum(files) | {"model.safetensors": b"<html>log in first</html>"},
        "is not a complete safetensors file",
    ),
    "no weights": (
        lambda files: {k: v for k, v in files.items() if k != "model.safetensors"},
        r"cannot fetch model\.safetensors of me/faces@\w+: the repository has no such file",
    ),
    "no configuration": (
        lambda files: {k: v for k, v in files.items() if k != "config.json"},
        r"cannot fetch config\.json of me/faces: the repository has no such file",
    ),
    "configuration of text": (
        lambda files: {**files, "config.json": b"hello"},
        r"config\.json of me/faces is not JSON",
    ),
    "configuration of a list": (lambda files: {**files, "config.json": b"[]"}, "holds a list, expected an object"),
    "another library's network": (
        lambda files: {**files, "config.json": b'{"architecture": "resnet18"}'},
        "holds a resnet18, which is no network of this library; use timm.create_model",
    ),
    "another network": (
        lambda files: {**files, "config.json": files["config.json"].replace(b'"mlp_ratio": 2.0', b'"mlp_ratio": 3.0')},
        "does not fit base_nano",
    ),
    "other classes": (
        lambda files: {
            **files,
            "config.json": files["config.json"].replace(b'"num_classes": 7', b'"num_classes": 5'),
        },
        "holds weights for 7 classes, the configuration of base_nano says 5",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_wrong_files_are_refused_and_the_right_ones_still_come(
    hub: LocalHub, files: dict[str, bytes], cache: Path, change: Any, message: str
) -> None:
    publish(hub, change(files))
    with pytest.raises(InputError, match=message) as caught:
        load()
    assert "\n" not in str(caught.value)
    publish(hub, files)
    hub.repositories["me/faces"].commit("main", files)
    assert load()(FACES).shape == (2, 7)


def test_corrupt_downloads_are_removed_from_the_cache(
    published: LocalHub, files: dict[str, bytes], cache: Path
) -> None:
    load()
    (blob,) = (path for path in cache.rglob("blobs/*") if path.stat().st_size == len(files["model.safetensors"]))
    blob.write_bytes(other_weights(files)["model.safetensors"])
    with pytest.raises(InputError, match="fetch it again"):
        load()
    assert load()(FACES).shape == (2, 7)


def test_waiting_stays_within_bounds(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    calls: list[int] = []

    def cut() -> None:
        calls.append(1)
        raise _hub_calls.HTTP_ERROR("cut")

    with pytest.raises(OSError, match="cannot do it: the connection"):
        _hub_calls.attempt(cut, "do it")
    assert (len(calls), waits) == (4, [1.0, 2.0, 4.0])


def test_other_errors_pass_through_at_once(waits: list[float]) -> None:
    def wrong() -> None:
        raise KeyError("a mistake in the program")

    with pytest.raises(KeyError, match="a mistake in the program"):
        _hub_calls.attempt(wrong, "do it")
    assert waits == []
