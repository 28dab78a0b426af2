"""Make short videos and corrupt their frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def video(path: Path, frames: int = 7, codec: str = "MJPG") -> Path:
    """Write ten frames a second, 128x96 pixels; each is 20 levels of red brighter than the one before."""
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, (128, 96))
    for number in range(frames):
        writer.write(np.full((96, 128, 3), (0, 0, 20 * number), np.uint8))
    writer.release()
    return path


def corrupt_frames(path: Path, *frames: int) -> None:
    """Overwrite frames of a motion JPEG video with zeros."""
    content = bytearray(path.read_bytes())
    start = content.index(b"movi")
    for number in range(max(frames) + 1):
        start = content.index(b"00dc", start + 4)
        size = int.from_bytes(content[start + 4 : start + 8], "little")
        if number in frames:
            content[start + 8 : start + 8 + size] = bytes(size)
    path.write_bytes(content)
