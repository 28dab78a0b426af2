"""Choosing an implementation: what is asked for by name runs or raises, None always finds one."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

import qcs
from qcs.errors import InputError
from qcs.ops import analytic, choose, compiled, dispatch, memory, precision, reference


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
    monkeypatch.setattr(dispatch, "_triton", lambda: SimpleNamespace(reason=lambda *_: None))
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
    monkeypatch.setattr(dispatch, "_why_not", lambda *_, **__: None)
    assert choose(None, tokens) is chosen
    monkeypatch.setattr(dispatch, "_why_not", lambda name, *_, **__: "no" if name == "triton" else None)
    assert choose(None, tokens) is analytic


def test_unknown_backend_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="unknown backend 'fast'; expected None or one of 'reference', 'analytic'"):
        choose("fast")


def test_neither_triton_kernels_nor_a_compiler_are_loaded_by_the_package() -> None:
    script = "import qcs, qcs.functional, sys; print([m for m in sys.modules if m.startswith('qcs.ops.triton')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_context_orders_what_none_may_choose_and_leaves_names_alone() -> None:
    tokens = torch.zeros(1)
    with qcs.ops.backend("reference"):
        assert choose(None, tokens) is choose(None) is reference
        assert choose("analytic", tokens) is analytic
        with qcs.ops.backend("triton", "analytic", "reference"):
            assert choose(None, tokens.double()) is analytic
        assert choose(None, tokens) is reference
    assert choose(None, tokens) is analytic


def test_a_context_whose_backends_cannot_run_says_why() -> None:
    with qcs.ops.backend("triton"), pytest.raises(InputError, match="no allowed backend can run: 'triton' cannot run"):
        choose(None, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize(("names", "message"), [(("fast",), "unknown backend 'fast'"), ((), "name at least one")])
def test_a_context_without_known_backends_is_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message), qcs.ops.backend(*names):
        pass


def test_without_a_compiler_the_compiled_backend_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="backend 'compiled' cannot run: it needs a C\\+\\+ compiler: install"):
        choose("compiled", torch.zeros(1))
    with qcs.ops.backend("compiled", "analytic"):
        assert choose(None, torch.zeros(1)) is analytic


def test_an_explanation_says_what_runs_and_why() -> None:
    tokens = torch.empty(4, 1, 64, 8, device="meta")
    found = qcs.ops.explain(*tokens)
    assert (found.backend, found.path, found.distances) == ("analytic", "kept", 4 * 4 * 64**2)
    assert found.why == "'triton' cannot run: the tokens are not on a GPU"
    assert str(found).startswith("analytic: 'triton' cannot run: the tokens are not on a GPU. 0.1 MiB of distances: ")
    assert qcs.ops.explain(*tokens, backend="reference")[:3] == ("reference", "it was asked for by name", "whole")
    assert qcs.ops.explain(*tokens, backend="compiled").path == "traced"
    assert qcs.ops.explain(*tokens[:2]).distances == 4 * 64**2
    with qcs.ops.memory_budget(4 * 4 * 64**2 - 1):
        assert qcs.ops.explain(*tokens).path == "recomputed"
        assert qcs.ops.explain(*tokens, matrices="s").path == "kept"  # one matrix at a time


def test_the_budget_is_a_share_of_free_memory_unless_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda *_: 2**30)
    cpu = torch.device("cpu")
    assert memory.fits(2**28, cpu) and not memory.fits(2**28 + 1, cpu)
    monkeypatch.setattr(memory, "free_memory", lambda *_: 0)
    assert memory.fits(memory.SMALL, cpu) and not memory.fits(memory.SMALL + 1, cpu)
    with memory.memory_budget(100):
        assert memory.fits(100, cpu) and not memory.fits(101, cpu)
    with pytest.raises(InputError, match="at least 0 bytes, got -1"), memory.memory_budget(-1):
        pass


def test_free_memory_is_that_of_this_machine() -> None:
    assert 2**26 < memory.free_memory("cpu", None) < 2**46
    assert memory.free_memory("mps", None) == 0


def test_products_on_a_gpu_run_in_float32_whatever_the_program_allows() -> None:
    gpu, before = torch.device("cuda"), torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        with precision.float32_products(gpu):
            assert not precision.is_tf32_allowed(gpu)
        assert torch.backends.cuda.matmul.allow_tf32
        assert analytic.path(100, gpu, is_compiling=True) == "kept"
        torch.backends.cuda.matmul.allow_tf32 = False
        assert analytic.path(100, gpu, is_compiling=True) == "traced"
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
