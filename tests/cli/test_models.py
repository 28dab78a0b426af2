"""`qcs models`: every network is listed."""

from __future__ import annotations

from commands import Run

import qcs


def test_models_lists_every_network_in_full(run: Run) -> None:
    done = run("models")
    assert done.status == 0
    for name in qcs.list_models(tags=True):
        assert name in done.out
    nano = run("models", "*_nano*").out
    assert "qcs_nano" in nano
    assert "ir50" not in nano
