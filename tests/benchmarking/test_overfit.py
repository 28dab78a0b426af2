"""Networks of other methods learn 64 faces by heart; the results of all are in a file."""

from __future__ import annotations

import json

import pytest

from benchmarks.overfit import NETWORKS, RESULTS, learned


@pytest.mark.slow
def test_a_cheap_network_learns_64_faces_by_heart() -> None:
    found = learned("dan_resnet18")
    assert found["accuracy"] == 1
    assert found["parameters_without_finite_gradient"] == []
    assert found["last_loss"] < found["first_loss"]


def test_every_result_in_the_file_is_a_success_of_a_network() -> None:
    results = json.loads(RESULTS.read_text())
    assert results and results.keys() <= NETWORKS.keys()
    for name, found in results.items():
        assert found["accuracy"] == 1 and found["parameters_without_finite_gradient"] == [], name
        assert found["sam"] == (NETWORKS[name].rho > 0)
