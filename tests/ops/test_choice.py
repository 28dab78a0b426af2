"""Choosing an implementation: what is asked for by name runs or raises, None always finds one."""

from __future__ import annotations

import pytest

from qcs.errors import InputError
from qcs.ops import BACKENDS, choose, reference


@pytest.mark.parametrize("backend", [None, "reference"])
def test_reference_runs_by_name_and_by_default(backend: str | None) -> None:
    assert choose(backend) is reference


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b != "reference"])
def test_known_backend_that_cannot_run_says_so_and_names_what_can(backend: str) -> None:
    with pytest.raises(InputError, match=f"backend '{backend}' is not part of this release; use .*'reference'"):
        choose(backend)


def test_unknown_backend_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="unknown backend 'fast'; expected None or one of 'reference', 'analytic'"):
        choose("fast")
