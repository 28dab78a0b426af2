"""Choosing an implementation: what is asked for by name runs or raises, None always finds one."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from qcs.errors import InputError
from qcs.ops import analytic, choose, dispatch, reference


@pytest.mark.parametrize(("backend", "module"), [(None, analytic), ("analytic", analytic), ("reference", reference)])
def test_backends_for_any_device_are_there_by_name_and_by_default(backend: str | None, module: object) -> None:
    assert choose(backend) is module
    assert choose(backend, torch.zeros(1)) is module


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "TRITON_INSTALLED", False)
    with pytest.raises(
        InputError, match=r"backend 'triton' cannot run: the package triton is not installed, or is older .*; use"
    ):
        choose("triton")


@pytest.mark.parametrize(("release", "usable"), [("3.2.0", False), ("2.3.1", False), ("3.3.0", True), ("3.10.1", True)])
def test_a_triton_that_cannot_compile_the_kernels_counts_as_not_installed(
    monkeypatch: pytest.MonkeyPatch, release: str, usable: bool
) -> None:
    monkeypatch.setattr(dispatch, "find_spec", lambda name: object())
    monkeypatch.setattr(dispatch, "version", lambda name: release)
    assert dispatch._is_triton_installed() is usable
    monkeypatch.setattr(dispatch, "TRITON_INSTALLED", dispatch._is_triton_installed())
    monkeypatch.setattr(dispatch, "_triton", lambda: SimpleNamespace(reason=lambda tokens: None))
    chosen = choose(None, torch.zeros(1).as_subclass(OnDevice))
    assert (chosen is analytic) is not usable


def test_tokens_that_triton_cannot_take_are_refused_with_the_reason() -> None:
    pytest.importorskip("triton")
    with pytest.raises(InputError, match=r"backend 'triton' cannot run: it takes float32, .* not torch\.float64"):
        choose("triton", torch.zeros(1, dtype=torch.float64))


class OnDevice(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


def test_on_a_gpu_triton_is_chosen_unless_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = torch.zeros(1).as_subclass(OnDevice)
    chosen = object()
    monkeypatch.setattr(dispatch, "_triton", lambda: chosen)
    monkeypatch.setattr(dispatch, "_why_not_triton", lambda tokens: None)
    assert choose(None, tokens) is chosen
    monkeypatch.setattr(dispatch, "_why_not_triton", lambda tokens: "no")
    assert choose(None, tokens) is analytic


def test_unknown_backend_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="unknown backend 'fast'; expected None or one of 'reference', 'analytic'"):
        choose("fast")


def test_neither_triton_kernels_nor_a_compiler_are_loaded_by_the_package() -> None:
    script = "import qcs, qcs.functional, sys; print([m for m in sys.modules if m.startswith('qcs.ops.triton')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
