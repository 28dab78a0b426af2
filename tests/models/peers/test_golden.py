"""The peers against the golden numbers of their published implementations, and what loading dropped."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from peer_golden import PEERS, Measured, measure

FACE_HEAD = "head of the face-recognition network, unused"
MATCHED = {
    "dan": 275,
    "ddamfn": 969,
    "adadf": 218,
    "posterv2": 720,
    "poster": 1296,
    "lnsunet": 173,
    "gsdnet": 403,
    "mfer": 374,
}
DROPPED: dict[str, dict[str, int]] = {
    "ddamfn": {
        "norms and activations after the mixed convolutions, never applied": 204,
        "convolutions of the attention heads, unused": 12,
        "norm of the logits, unused": 5,
    },
    "adadf": {"second names of the branches' entries": 184},
    "posterv2": {
        FACE_HEAD: 12,
        "layers of the transformer, unused": 12,
        "positions of the windows, which the network computes": 3,
    },
    "poster": {FACE_HEAD: 12, "class token, unused": 1},
    "lnsunet": {FACE_HEAD: 14, "positions and masks of the windows, which the network computes": 17},
}
SECONDS = {"dan", "adadf", "posterv2", "poster", "gsdnet", "mfer"}

measured = cache(measure)
each_peer = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SECONDS else ()) for name in PEERS]
)


@each_peer
def test_every_golden_tensor_is_met(name: str) -> None:
    found: Measured = measured(name)
    assert {group: error for group, error in found.errors.items() if not error < 1e-9} == {}


@each_peer
def test_every_entry_is_matched_or_dropped_by_name(name: str) -> None:
    loaded = measured(name).loaded
    assert (loaded.matched, loaded.dropped, loaded.fresh) == (MATCHED[name], DROPPED.get(name, {}), 0)


@each_peer
def test_parameters_are_those_of_the_specification(name: str) -> None:
    found = measured(name)
    assert found.parameters + found.dropped_parameters == PEERS[name].parameters


@each_peer
def test_float32_gives_the_same_values_up_to_rounding(name: str) -> None:
    errors = measure(name, torch.float32).errors
    assert max(errors[group] for group in errors if group.startswith("eval values")) < 1e-5
