"""Corrupt files, for fuzzing readers."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def corrupt_bytes(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    """Change, cut out or double bytes, or replace them by tokens that may confuse a reader."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(changed)))
        end = min(len(changed), start + draw(st.sampled_from([0, 1, 1, 2, 5, 40, len(changed)])))
        kind = draw(st.sampled_from(["token", "bytes", "cut", "double"]))
        if kind == "token":
            changed[start:end] = draw(st.sampled_from(tokens))
        elif kind == "bytes":
            changed[start:end] = draw(st.binary(max_size=max(end - start, 1)))
        elif kind == "cut":
            del changed[start:end]
        else:
            changed[start:start] = changed[start:end]
    return bytes(changed)


@st.composite
def corrupt_entry(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    """Corrupt one entry of a valid zip file; its own check sum is correct, so the reader gets the corrupt content."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(packed, "w") as after:
        chosen = draw(st.sampled_from(before.namelist()))
        for name in before.namelist():
            stored = before.read(name)
            after.writestr(name, draw(corrupt_bytes(stored, tokens)) if name == chosen else stored)
    return packed.getvalue()
