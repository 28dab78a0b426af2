"""Corrupt files, and the rule for readers of them; `python tests/fuzz.py` draws as many as you like."""

from __future__ import annotations

import atexit
import json
import os
import time
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from io import BytesIO

from hypothesis import strategies as st

from qcs.errors import InputError

SECONDS = 10  # of work for one file of a few kilobytes, whatever else the machine does
LONGEST = 2000  # characters of a message
_counts: dict[str, dict[str, int]] = defaultdict(lambda: {"inputs": 0, "refused": 0, "longest": 0})


def read_or_refused(kind: str, *readers: Callable[[], object], lines: int | None = 1) -> None:
    """Check that each reader of an input ends within seconds, if with an error then with a short `InputError`."""
    counts, started = _counts[kind], time.process_time()
    counts["inputs"] += 1
    refused = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in readers:
            try:
                read()
            except InputError as error:
                refused, message = True, str(error)
                counts["longest"] = max(counts["longest"], len(message))
                assert len(message) <= LONGEST, "a long message"
                assert lines is None or "\n" not in message, "more than one line"
    counts["refused"] += refused
    assert time.process_time() - started < SECONDS


@atexit.register
def _save_counts() -> None:
    if path := os.environ.get("QCS_FUZZ_COUNTS"):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(_counts, file)


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
    packed = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as before, zipfile.ZipFile(packed, "w") as after:
        chosen = draw(st.sampled_from(before.namelist()))
        for name in before.namelist():
            stored = before.read(name)
            after.writestr(name, draw(corrupt_bytes(stored, tokens)) if name == chosen else stored)
    return packed.getvalue()
