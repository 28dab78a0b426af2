"""Publishing that goes wrong: what may pass is tried again, the rest ends in one line and changes no repository."""

from __future__ import annotations

from pathlib import Path

import local_hub
import pytest
from huggingface_hub import constants
from local_hub import Fault, LocalHub

import qcs
from qcs.errors import InputError
from qcs.models import save_model
from qcs.publish import push


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    return save_model(qcs.create_model("base_nano"), folder / "weights.safetensors")


STEPS = {
    "making the repository": "POST /api/repos/create",
    "asking how to upload": "preupload",
    "asking where to": "info/lfs/objects/batch",
    "uploading": "PUT /large",
    "committing": "/commit/",
}
PASSING = {"429": (429, {"Retry-After": "3"}), "503": (503, {}), "cut": (None, {})}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(("status", "headers"), PASSING.values(), ids=PASSING)
def test_push_survives_what_passes(
    hub: LocalHub, weights: Path, waits: list[float], step: str, status: int | None, headers: dict[str, str]
) -> None:
    hub.faults.append(Fault(step, status, headers=headers))
    push(weights, "me/faces")
    repository = hub.repositories["me/faces"]
    files = repository.commits[repository.branches["main"]]
    assert files["model.safetensors"] == weights.read_bytes()
    assert len(repository.commits) == 2  # the empty one and ours
    assert waits


LASTING = {
    "401": (
        401,
        InputError,
        r"does not accept your token \(401\) \(made to fail\); run 'hf auth login' or set HF_TOKEN",
    ),
    "403": (403, InputError, r"your token does not permit it \(403\) \(made to fail\); it needs write access to push"),
    "400": (400, InputError, r"http.* answered 400 \(made to fail\)"),
    "429": (429, OSError, r"limits how much you may ask of it \(429\)"),
    "503": (503, OSError, r"has a problem of its own \(503\); try again later"),
    "cut": (None, OSError, r"the connection to http.* broke off"),
}


@pytest.mark.parametrize("step", [pytest.param("PUT /large", marks=pytest.mark.slow), "/commit/"])
@pytest.mark.parametrize(("status", "kind", "message"), LASTING.values(), ids=LASTING)
def test_fault_that_lasts_is_named_and_changes_nothing(
    hub: LocalHub, weights: Path, step: str, status: int | None, kind: type[Exception], message: str
) -> None:
    hub.faults.append(Fault(step, status, times=1000))
    with pytest.raises(kind, match=rf"^cannot (make|push to) me/faces: .*{message}") as caught:
        push(weights, "me/faces")
    assert "\n" not in str(caught.value)
    assert all(len(repository.commits) == 1 for repository in hub.repositories.values())
    hub.faults.clear()
    push(weights, "me/faces")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, r"asks for a token \(401\).*run 'hf auth login' or set HF_TOKEN"),
        (local_hub.READ_ONLY_TOKEN, r"your token does not permit it \(403\) \(your token is for reading\)"),
    ],
)
def test_token_that_may_not_write_is_refused(
    hub: LocalHub, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str | None, message: str
) -> None:
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("HF_TOKEN", token or "")
    with pytest.raises(InputError, match=message):
        push(weights, "me/faces")
    assert hub.repositories == {}


@pytest.mark.parametrize(
    "name", ["faces", "me/faces/x", "/faces", "me/", "me/fa ces", "me/faces@v1", "hf-hub:me/faces "]
)
def test_name_without_owner_is_refused_before_anything_else(hub: LocalHub, name: str) -> None:
    with pytest.raises(InputError, match="expected a repository as ORG/NAME, got"):
        push("nowhere.safetensors", name)
    assert hub.requests == []


def test_offline_mode_is_said(hub: LocalHub, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"cannot make me/faces: offline mode is on \(HF_HUB_OFFLINE\)"):
        push(weights, "me/faces")
