"""Frames of a video, from pixels to filtered probabilities of each person."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixed_faces import needs_extra
from live.clips import ColorDetector, frame, pictures, red_or_green
from PIL import Image

from qcs.errors import InputError
from qcs.faces import Faces, Picture

pytestmark = needs_extra


def watch(frames: list[Picture], **options: Any) -> Any:
    from qcs.live import Watch

    detector = options.pop("detector", None) or ColorDetector()
    return Watch(iter(frames), options.pop("classify", red_or_green), detector, **{"delay": 0.0, **options})


def moving(count: int) -> list[Picture]:
    return pictures([frame((10 + 3 * n, 20), (170 - 3 * n, 40)) for n in range(count)])


def test_faces_are_detected_now_and_then_and_followed_between() -> None:
    detector = ColorDetector()
    found = list(watch(moving(11), detector=detector, detect_every=5))
    assert detector.calls == 3  # frames 0, 5 and 10
    for number, faces in enumerate(found):
        expected = ColorDetector()(frame((10 + 3 * number, 20), (170 - 3 * number, 40)))
        assert faces.frame == number
        assert {row.track: row.label for row in faces} == {1: "red", 2: "green"} or number > 20
        boxes = {row.label: row.box for row in faces}
        places = expected.boxes[np.argsort(expected.boxes[:, 1])]
        np.testing.assert_allclose([boxes["red"], boxes["green"]], places, atol=2.5)


def test_a_number_survives_frames_in_which_the_face_is_hidden() -> None:
    shown = [frame((20, 30) if not 6 <= n < 12 else None, (150, 40)) for n in range(20)]
    tracks = [sorted(row.track for row in faces) for faces in watch(pictures(shown), detect_every=3)]
    assert tracks[:6] == [[1, 2]] * 6
    assert all(len(each) == 1 for each in tracks[6:12])
    assert tracks[15:] == [[1, 2]] * 5


def test_probabilities_are_filtered_per_track() -> None:
    flips: list[int] = []

    def flickering(crops: list[Image.Image]) -> Faces:
        flips.append(len(crops))
        found = red_or_green(crops)
        return replace(found, probabilities=found.probabilities[:, ::-1]) if len(flips) % 4 == 0 else found

    still = pictures([frame((20, 30)) for _ in range(16)])
    labels = {
        delay: [faces.labels[0] for faces in watch(still, classify=flickering, delay=delay)] for delay in (0.0, 0.5)
    }
    assert labels[0.0].count("green") == 4
    assert labels[0.5] == ["red"] * 16


def test_each_video_has_tracks_of_its_own() -> None:
    frames = pictures([frame((20, 30))] * 3, "a.mp4") + pictures([frame((20, 30))] * 3, "b.mp4")
    assert [faces.tracks.tolist() for faces in watch(frames)] == [[1]] * 6


def test_recorded_frames_are_given_as_they_are_and_their_tracks_go_on() -> None:
    frames = moving(12)
    whole = list(watch(frames, delay=0.3))
    detector = ColorDetector()

    def recorded(picture: Picture) -> Faces | None:
        return replace(whole[picture.frame], picture=picture) if picture.frame < 7 else None

    again = watch(frames, delay=0.3, detector=detector, recorded=recorded)
    found = []
    for faces in again:
        assert again.was_recorded == (faces.frame < 7)
        found.append(faces)
    assert detector.calls == 1  # frame 10
    for a, b in zip(found, whole, strict=True):
        assert a.tracks.tolist() == b.tracks.tolist()
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1.5)
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=0.02)


def test_frames_without_a_face_are_an_answer() -> None:
    (faces,) = watch(pictures([frame()]))
    assert (len(faces), faces.to_dict()["faces"]) == (0, [])


def test_speed_says_how_often_each_stage_ran() -> None:
    stream = watch(moving(6), detect_every=5)
    assert len(list(stream)) == 6
    assert (stream.speed.frames, stream.speed.calls["detection"], stream.speed.calls["classification"]) == (6, 2, 6)
    assert stream.speed.rate > 0 and 0 <= stream.speed.latency < 60
    assert "frames/s; milliseconds per run: waiting" in str(stream.speed)


def test_an_error_of_the_source_is_raised_in_its_place() -> None:
    def broken() -> Iterator[Picture]:
        yield from moving(2)
        raise InputError("the camera stopped")

    from qcs.live import Watch

    stream = Watch(broken(), red_or_green, ColorDetector())
    assert [next(stream).frame, next(stream).frame] == [0, 1]
    for _ in range(2):
        with pytest.raises(InputError, match="the camera stopped"):
            next(stream)


def test_frames_that_wait_for_too_long_are_dropped_for_newer_ones_of_a_camera() -> None:
    from qcs.live.prefetch import Prefetch

    frames = moving(8)
    for newest, expected in ((True, 7), (False, 1)):
        stream = Prefetch(iter(frames), newest=newest)
        assert next(stream)[0].frame == 0
        if newest:
            time.sleep(2)
        assert next(stream)[0].frame == expected
        stream.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detect_every": 0}, "detect_every is 0; expected at least 1, which detects in each frame"),
        ({"delay": -0.1}, r"delay is -0\.1; expected seconds, 0 for no filter"),
        ({"crop": "tight"}, "crop must be one of"),
        ({"classify": lambda crops: Faces()}, "the classifier gave no probabilities for each face"),
    ],
)
def test_what_cannot_be_watched_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(watch(moving(1), **options))


def test_a_missing_file_is_named() -> None:
    from qcs.live import watch as by_name

    with pytest.raises(InputError, match=r"there is no gone\.mp4"):
        by_name("gone.mp4", classify=red_or_green, detector=ColorDetector())


def test_a_video_is_watched_by_its_name(tmp_path: Path) -> None:
    import cv2

    from qcs.live import watch as by_name

    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (240, 120))
    for picture in moving(6):
        writer.write(np.asarray(picture.image)[..., ::-1])
    writer.release()
    found = list(by_name(path, classify=red_or_green, detector=ColorDetector()))
    assert [len(faces) for faces in found] == [2] * 6
    assert found[-1].seconds == pytest.approx(0.5)
