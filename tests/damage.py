"""Damaged files, for fuzzing whatever reads them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

from hypothesis import strategies as st


@st.composite
def damage(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    """Bytes changed, cut out, doubled, or replaced by tokens that a reader may trip over."""
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
def damaged_inside(draw: st.DrawFn, content: bytes, tokens: Sequence[bytes]) -> bytes:
    """A zip in order around a damaged entry, whose check sum would otherwise keep the damage from the reader."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(packed, "w") as after:
        spoilt = draw(st.sampled_from(before.namelist()))
        for name in before.namelist():
            stored = before.read(name)
            after.writestr(name, draw(damage(stored, tokens)) if name == spoilt else stored)
    return packed.getvalue()
