"""`qcs data`: folders of faces."""

from __future__ import annotations

from pathlib import Path

import toy
from commands import Run, fails, written
from fixed_faces import needs_extra


@needs_extra
def test_a_folder_is_aligned_and_counted(run: Run, tmp_path: Path) -> None:
    written(toy.photos(tmp_path / "photos", 3)[1], b"")
    done = run("data", "align", "photos", "faces", "--workers", 1)
    assert (done.status, done.err) == (0, "")
    assert done.out == (
        "0 faces from 0 of 3 pictures; 2 without a face, 1 unreadable, 0 done before; see faces/align.jsonl\n"
    )
    fails(run("data", "align", "photos", "photos/faces"), "photos/faces lies in photos, whose pictures are to be .*")
    fails(run("data", "align", "photos", "faces", "--size", 96, "--workers", 1), "faces holds faces with size .*")
