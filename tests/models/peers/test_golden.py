"""The peers against the golden numbers of their published implementations, and what loading dropped."""

from __future__ import annotations

from functools import cache

import pytest
from peer_golden import PEERS, Measured, measure

DROPPED = {
    "dan": {},
    "ddamfn": {
        "norms and activations after the mixed convolutions, never applied": 204,
        "convolutions of the attention heads, unused": 12,
        "norm of the logits, unused": 5,
    },
    "adadf": {"second names of the branches' entries": 184},
}
SECONDS = {}
MATCHED = {"dan": 275, "ddamfn": 969, "adadf": 218}

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
    assert (loaded.matched, loaded.dropped, loaded.fresh) == (MATCHED[name], DROPPED[name], 0)


@each_peer
def test_parameters_are_those_of_the_specification(name: str) -> None:
    found = measured(name)
    assert found.parameters + found.dropped_parameters == PEERS[name].parameters
