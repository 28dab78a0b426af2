"""Image files, folders, videos and cameras as one stream of pictures."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from corrupt_video import corrupt_frames, video
from fixed_faces import needs_extra
from PIL import Image

from qcs.errors import InputError
from qcs.faces import pictures
from qcs.faces.media import camera_number


def test_files_and_folders_are_read_in_order_with_a_place_of_their_own(tmp_path: Path) -> None:
    inside = toy.photos(tmp_path / "in" / "deep", 2)
    (alone,) = toy.photos(tmp_path / "other", 1)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    read = list(pictures([alone, tmp_path / "in"]))
    assert [picture.path for picture in read] == [str(alone), *map(str, inside)]
    assert [str(picture.place) for picture in read] == ["0.jpg", "deep/0.jpg", "deep/1.jpg"]
    assert read[0].image.size == (60, 70)
    assert read[0].to_dict() == {"path": str(alone)}


def test_pictures_are_read_one_by_one_when_they_are_asked_for(tmp_path: Path) -> None:
    files = toy.photos(tmp_path, 2)
    stream = pictures(files)
    next(stream)
    files[1].write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot read image .*1\.jpg"):
        next(stream)


def test_an_unreadable_file_is_handed_over_and_passed_over(tmp_path: Path) -> None:
    files = toy.photos(tmp_path, 3)
    files[1].write_bytes(b"")
    errors: list[InputError] = []
    assert [picture.path for picture in pictures([tmp_path], on_unreadable=errors.append)] == [
        str(files[0]),
        str(files[2]),
    ]
    assert [str(files[1]) in str(error) for error in errors] == [True]


@needs_extra
@pytest.mark.parametrize(("every", "numbers"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (100, [0])])
def test_every_nth_frame_of_a_video_is_taken_with_its_time(tmp_path: Path, every: int, numbers: list[int]) -> None:
    path = video(tmp_path / "clip.avi")
    frames = list(pictures([path], every))
    assert [frame.frame for frame in frames] == numbers
    assert [frame.seconds for frame in frames] == pytest.approx([number / 10 for number in numbers])
    assert [str(frame.place) for frame in frames] == [f"clip-{number:06}.png" for number in numbers]
    for frame in frames:
        red, _, blue = np.asarray(frame.image, dtype=int)[24, 32]
        assert abs(red - 20 * frame.frame) < 8
        assert blue < 8
    assert frames[-1].to_dict() == {"path": str(path), "frame": numbers[-1], "seconds": frames[-1].seconds}


@needs_extra
@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_a_corrupt_video_is_one_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read video .*clip\.mp4: it is corrupt or of an unknown format"):
        list(pictures([tmp_path / "clip.mp4"]))


@needs_extra
def test_a_missing_camera_is_one_error_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="cannot open camera 87; check that it is connected"):
        next(pictures(["camera:87"]))
    assert capfd.readouterr() == ("", "")


@needs_extra
def test_a_camera_gives_frames_with_the_time_since_its_start_and_its_end_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    opened: list[Any] = []
    original, path = cv2.VideoCapture, str(video(tmp_path / "clip.avi", 3))
    monkeypatch.setattr(cv2, "VideoCapture", lambda source: opened.append(source) or original(path))
    stream = pictures(["camera:2"], every=2)
    frames = [next(stream), next(stream)]
    assert opened == [2]
    assert [(frame.path, frame.frame) for frame in frames] == [("camera:2", 0), ("camera:2", 2)]
    assert 0 <= frames[0].to_dict()["seconds"] < frames[1].to_dict()["seconds"] < 60
    with pytest.raises(InputError, match="camera 2 stopped after 3 frames"):
        next(stream)


def test_cameras_are_distinguished_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [camera_number(source) for source in ("camera", "camera:1", "cameras", "c.png")] == [0, 1, None, None]
    with pytest.raises(InputError, match="unknown camera 'camera:front'; expected camera, or camera:1"):
        camera_number("camera:front")
    Image.new("L", (9, 9)).save(tmp_path / "camera", "PNG")
    assert camera_number("camera") is None
    assert [picture.path for picture in pictures(["camera"])] == ["camera"]


def test_what_cannot_be_read_at_all_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no .*gone; expected an image, a folder, a video or camera"):
        pictures([tmp_path / "gone"])
    with pytest.raises(InputError, match=r"no images in .*; expected files ending in \.bmp"):
        pictures([tmp_path])
    with pytest.raises(InputError, match="every is 0; expected at least 1"):
        pictures([tmp_path], every=0)


def test_images_need_no_extra_and_videos_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.photos(tmp_path, 1)
    (tmp_path / "clip.mp4").write_bytes(b"")
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cv2" else original(name))
    assert len(list(pictures([tmp_path]))) == 1
    with pytest.raises(InputError, match=r"reading a video or camera needs opencv-python-headless; run: pip install"):
        next(pictures([tmp_path / "clip.mp4"]))


@needs_extra
@pytest.mark.parametrize(("every", "numbers"), [(1, [0, 1, 4, 5, 7]), (2, [0, 4])])
def test_frames_that_cannot_be_decoded_are_skipped_and_the_others_keep_their_numbers(
    tmp_path: Path, every: int, numbers: list[int]
) -> None:
    path = video(tmp_path / "clip.avi", 10)
    corrupt_frames(path, 2, 3, 6, 8, 9)  # in the middle, and at the end
    errors: list[InputError] = []
    frames = list(pictures([path], every, errors.append))
    assert [frame.frame for frame in frames] == numbers
    for frame in frames:
        assert abs(int(np.asarray(frame.image)[24, 32, 0]) - 20 * frame.frame) < 8
        assert frame.seconds == pytest.approx(frame.frame / 10)
    (error,) = errors
    assert "clip.avi is corrupt: 5 of 10 frames cannot be decoded, the first is frame 2; the other" in str(error)


@needs_extra
def test_a_video_that_was_cut_off_is_read_to_its_end_and_reported(tmp_path: Path) -> None:
    path = video(tmp_path / "clip.avi", 10)
    content = path.read_bytes()
    start = content.index(b"movi")  # of the frames
    path.write_bytes(content[: (start + len(content)) // 2])
    errors: list[InputError] = []
    frames = list(pictures([path], on_unreadable=errors.append))
    assert [frame.frame for frame in frames] == list(range(len(frames)))
    assert 2 < len(frames) < 8
    assert f"{10 - len(frames)} of 10 frames cannot be decoded, the first is frame {len(frames)}" in str(errors[0])


@needs_extra
def test_an_error_of_the_decoder_keeps_the_frames_before_and_names_file_and_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    original = cv2.VideoCapture

    class Failing:
        def __init__(self, source: str) -> None:
            self.inner, self.calls = original(source), 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def grab(self) -> bool:
            self.calls += 1
            if self.calls == 4:
                raise cv2.error("decoder failed")
            return self.inner.grab()

    path = video(tmp_path / "clip.avi", 7)
    monkeypatch.setattr(cv2, "VideoCapture", Failing)
    errors: list[InputError] = []
    (photo,) = toy.photos(tmp_path / "photos", 1)
    read = list(pictures([path, photo], on_unreadable=errors.append))
    assert [picture.frame for picture in read] == [0, 1, 2, None]
    assert "clip.avi is corrupt: 4 of 7 frames cannot be decoded, the first is frame 3: decoder failed" in str(
        errors[0]
    )


def test_a_reader_says_how_far_it_is(tmp_path: Path) -> None:
    reader = pictures(toy.photos(tmp_path, 3))
    assert (reader.files, reader.done) == (3, 0)
    assert [reader.done for _ in reader] == [1, 2, 3]
    assert pictures(["camera"]).files is None


def test_one_path_is_one_source_and_a_url_is_refused(tmp_path: Path) -> None:
    (file,) = toy.photos(tmp_path, 1)
    assert [picture.path for picture in pictures(str(file))] == [str(file)]
    with pytest.raises(InputError, match=r"https://example\.org/a\.jpg is a URL; download the picture"):
        pictures("https://example.org/a.jpg")


def test_a_picture_that_holds_no_pixels_is_read_again(tmp_path: Path) -> None:
    (file,) = toy.photos(tmp_path, 1)
    (picture,) = pictures(file)
    again = dataclasses.replace(picture, loaded=None)
    assert np.array_equal(np.asarray(again.image), np.asarray(picture.image))
