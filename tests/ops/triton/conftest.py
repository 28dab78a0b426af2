"""Fixtures of Triton's interpreter, which runs kernels without a GPU, and of its launches."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

import pytest

collect_ignore_glob = [] if find_spec("triton") else ["*.py"]

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(scope="session")
def interpreted() -> Any:
    """The backend, in the interpreter."""
    if not INTERPRETED:
        pytest.skip("kernels run without a GPU in Triton's interpreter only: set TRITON_INTERPRET=1")
    import triton.language as tl
    from triton.runtime import interpreter

    from qcs.ops import triton
    from qcs.ops.triton import tile

    # Each call of a helper patches Triton's language again, which takes most of the time: patch it once.
    patches = [interpreter._patch_lang(helper.fn) for helper in (tile.pick, tl.sum)]
    patch = pytest.MonkeyPatch()
    patch.setattr(interpreter, "_patch_lang", lambda fn: interpreter._LangPatchScope())
    yield triton
    patch.undo()
    for scope in reversed(patches):
        scope.restore()


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch, interpreted: Any) -> list[str]:
    """Names of the kernels launched."""
    from triton.runtime.interpreter import InterpretedFunction

    names: list[str] = []
    run = InterpretedFunction.run

    def counted(kernel: Any, *args: Any, **kwargs: Any) -> Any:
        names.append(kernel.fn.__name__)
        return run(kernel, *args, **kwargs)

    monkeypatch.setattr(InterpretedFunction, "run", counted)
    return names


@pytest.fixture
def wide_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use few large tiles, because the interpreter's time grows with steps. Results depend on them by rounding only."""
    from qcs.ops.triton import tile

    for name, size in (("BLOCK_C", 256), ("CHUNK", 1024), ("TILE", 64)):
        monkeypatch.setattr(tile, name, size)
