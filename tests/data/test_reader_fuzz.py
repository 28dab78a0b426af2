"""Corrupt files of every format end in an `InputError` or are read: nothing else, no hang, nothing executed."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from corruption import corrupt_bytes, corrupt_entry, read_or_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import TREES, grow

from qcs.data.readers import read
from qcs.data.votes import RULES
from qcs.errors import InputError

EXAMPLES = int(os.environ.get("QCS_FUZZ_EXAMPLES", 400))
IMAGES = (".png", ".jpg")
TARGETS = [  # of each tree everything but its images, and one of these
    (name, file)
    for name, (_, files) in TREES.items()
    for file in (*[f for f in files if not f.endswith(IMAGES)], *[f for f in files if f.endswith(IMAGES)][:1])
]
TOKENS = [
    b"", b"\0", b"\n", b"\r", b",", b'"', b" ", b"\t", b"-1", b"0", b"8", b"99999999999999999999", b"1e400", b"nan",
    b"../../", b"/", b"\\", b"\xff\xfe", b"\xef\xbb\xbf", "\u0663".encode(), b"Training", b"train", b"O", b"<U1", b"|O",
]  # fmt: skip


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every tree, in order."""
    found = {name: tmp_path_factory.mktemp("tree") for name in TREES}
    for name, folder in found.items():
        grow(folder, name)
    return found


def read_first(path: Path, format: str | None, votes: str | None) -> None:
    """Read the labels and, of each split, an image."""
    for split in read(path, format=format, votes=votes).values():
        split.image(0)


@settings(max_examples=EXAMPLES, deadline=None, derandomize="QCS_FUZZ_EXAMPLES" not in os.environ, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(data=st.data())
def test_corrupt_files_are_read_or_refused(folders: dict[str, Path], data: st.DataObject) -> None:
    name, place = data.draw(st.sampled_from(TARGETS))
    path, files = TREES[name]
    spoil = data.draw(st.sampled_from([corrupt_bytes, corrupt_entry])) if place.endswith(".npz") else corrupt_bytes
    content = data.draw(spoil(files[place], TOKENS))
    format = data.draw(st.sampled_from([None, name.split()[0]]))
    file = folders[name] / place
    file.write_bytes(content)
    try:
        # A rule for data without votes is refused before anything else.
        rules = [None, *sorted(RULES)] if "votes" in name or name.startswith("ferplus") else [None]
        rule, lines = data.draw(st.sampled_from(rules)), None if name.startswith("npz") else 1
        read_or_refused("data sets", lambda: read_first(folders[name] / path, format, rule), lines=lines)
    finally:
        file.write_bytes(files[place])


@pytest.mark.parametrize("name", ["npz labels", "npz votes", "affectnet8 annotations"])
def test_pickles_in_arrays_are_not_run(tmp_path: Path, name: str) -> None:
    trap = tmp_path / "trap"
    pickle.loads(pickle.dumps(Bomb(trap))).close()
    assert trap.exists(), "the bomb is a dud"
    trap.unlink()
    objects = np.array([Bomb(trap)] * 5, dtype=object)
    file = io.BytesIO()
    if name.startswith("npz"):
        np.savez(file, images=np.zeros((5, 6, 8), np.uint8), **{name.split()[1]: objects})
        changes = {"faces.npz": file.getvalue()}
    else:
        np.save(file, objects[:1])
        changes = {"train_set/annotations/1_exp.npy": file.getvalue()}
    with pytest.raises(InputError, match="allow_pickle"):
        read(grow(tmp_path / "tree", name, changes), format=name.split()[0])
    assert not trap.exists()
