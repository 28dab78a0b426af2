"""`qcs models`: the main networks or every network, in 80 columns."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import pytest
from commands import Run

import qcs
from qcs.models import summary


def names(out: str) -> list[str]:
    """Full names of the listed networks, which are shown without the tag `untrained`."""
    shown = {name.removesuffix(".untrained"): name for name in qcs.list_models(tags=True)}
    first = [line.split()[0] for line in out.splitlines()]
    return [shown[word] for word in first if word in shown]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module", autouse=True)
def measured_once() -> Iterator[None]:
    """Measure a network once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "describe_model", functools.cache(summary.describe_model))
        yield


def test_main_networks_are_listed_with_weights_first(run: Run) -> None:
    done = run("models")
    listed = names(done.out)
    assert (done.status, listed[0]) == (0, "qcs_small.ferplus")
    assert {name.partition(".")[0] for name in listed} == {"qcs_ir50", "qcs_small", "qcs_nano", "qcs_any"}
    known = len(qcs.list_models(tags=True))
    assert f"{len(listed)} of {known} networks; --all lists the others" in done.out


def test_all_lists_every_network_within_80_columns(run: Run) -> None:
    done = run("models", "--all")
    assert sorted(names(done.out)) == qcs.list_models(tags=True)
    assert names(done.out)[0] == "qcs_small.ferplus"
    assert max(map(len, done.out.splitlines())) <= 80 and "…" not in done.out
    (row,) = (line.split() for line in done.out.splitlines() if line.startswith("qcs_ir50.affectnet8"))
    assert row[1:] == ["none", "66.81", "M", "40.70", "M", "8.12", "3x224x224", "8", "64.30%"]


def test_a_pattern_lists_all_that_match(run: Run) -> None:
    assert names(run("models", "*_nano").out) == qcs.list_models("*_nano", tags=True)
    rows = json.loads(run("models", "base_ir50*", "--json").out)
    assert [row["name"] for row in rows] == qcs.list_models("base_ir50*", tags=True)
