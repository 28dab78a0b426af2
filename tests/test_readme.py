"""The first snippet of the README prints what the README shows, and its picture shows the same."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from fixed_faces import needs_extra
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(python|text)\n(.*?)```", re.DOTALL)


@needs_extra
def test_the_first_snippet_prints_what_is_shown_beside_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("skimage")
    from benchmarks.photograph import predicted

    found = predicted(tmp_path)
    monkeypatch.chdir(tmp_path)
    (kind, code), (other, shown), *_ = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert (kind, other) == ("python", "text")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == shown
    with Image.open(ROOT / "docs" / "images" / "photograph.jpg") as picture:
        difference = np.asarray(picture, dtype=int) - np.asarray(found.annotated(), dtype=int)
    assert np.abs(difference).mean() < 4  # JPEG
