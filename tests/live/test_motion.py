"""Faces are moved as their pixels move."""

from __future__ import annotations

import numpy as np
import pytest
from fixed_faces import needs_extra
from live.clips import ColorDetector, frame

from qcs.faces import Faces

pytestmark = needs_extra


def detected(*places: tuple[float, float] | None) -> Faces:
    return ColorDetector()(frame(*places))


def test_boxes_and_landmarks_follow_the_pixels() -> None:
    from qcs.live import Motion

    motion, found = Motion(), detected((20, 20), (150, 40))
    motion.see(frame((20, 20), (150, 40)))
    motion.see(frame((25, 23), (144, 40)))
    boxes, landmarks, followed = motion(found.boxes, found.landmarks)
    expected = detected((25, 23), (144, 40))
    assert followed.all()
    np.testing.assert_allclose(boxes, expected.boxes, atol=1.5)
    np.testing.assert_allclose(landmarks, expected.landmarks, atol=1.5)


def test_growth_is_followed() -> None:
    from qcs.live import Motion

    motion, found, first = Motion(), detected((80, 30)), frame((80, 30))
    motion.see(first)
    motion.see(first.resize((264, 132)).crop((12, 6, 252, 126)))  # 10% larger about the center
    boxes, _, followed = motion(found.boxes, found.landmarks)
    assert followed.all()
    assert np.ptp(boxes[0].reshape(2, 2), axis=0) == pytest.approx(
        1.1 * np.ptp(found.boxes[0].reshape(2, 2), axis=0), rel=0.03
    )


def test_a_face_that_is_gone_or_a_frame_of_another_size_cannot_be_followed() -> None:
    from qcs.live import Motion

    motion, found = Motion(), detected((20, 20), (150, 40))
    motion.see(frame((20, 20), (150, 40)))
    boxes, _, followed = motion(found.boxes, found.landmarks)  # there is no frame before
    assert not followed.any() and (boxes == found.boxes).all()
    motion.see(frame((20, 20), None))
    assert motion(found.boxes, found.landmarks)[2].tolist() == [found.boxes[0, 0] < 100, found.boxes[1, 0] < 100]
    motion.see(frame((20, 20)).resize((120, 60)))
    assert not motion(found.boxes, found.landmarks)[2].any()
    assert motion(np.empty((0, 4)), np.empty((0, 5, 2)))[2].shape == (0,)
