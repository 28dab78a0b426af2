"""Corrupt videos end in an `InputError` after the frames that can be read: nothing else, no hang."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from corrupt_video import video
from corruption import corrupt_bytes, read_or_refused
from fixed_faces import needs_extra
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcs.faces import pictures

EXAMPLES = int(os.environ.get("QCS_FUZZ_EXAMPLES", 100))
TOKENS = [b"", b"\0", b"\0" * 4, b"\xff" * 4, b"00dc", b"idx1", b"movi", b"RIFF", b"LIST", b"moov", b"mdat", b"stts"]
CODECS = {"clip.avi": "MJPG", "clip.mp4": "mp4v", "clip.mkv": "MJPG"}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A video of three frames in each container."""
    folder = tmp_path_factory.mktemp("videos")
    return {name: video(folder / name, frames=3, codec=codec).read_bytes() for name, codec in CODECS.items()}


@needs_extra
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES <= 100,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_corrupt_videos_are_read_or_refused(data: st.DataObject, originals: dict[str, bytes], tmp_path: Path) -> None:
    name = data.draw(st.sampled_from(sorted(CODECS)))
    path = tmp_path / name
    path.write_bytes(data.draw(corrupt_bytes(originals[name], TOKENS)))
    read_or_refused("videos", lambda: [picture.image.load() for picture in pictures(path)])
