"""People keep their numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixed_faces import face
from PIL import Image

from qcs.errors import InputError
from qcs.faces import Faces
from qcs.live.tracker import Tracker, appearance, overlaps

A, B = (appearance(Image.fromarray(np.random.default_rng(n).integers(0, 256, (48, 48), np.uint8))) for n in (1, 2))


def found(*places: tuple[float, float], score: float = 0.99) -> Faces:
    return Faces.of(face(x, y, 50, score) for x, y in places)


def numbers(tracker: Tracker) -> dict[tuple[float, ...], int]:
    return {row.box[:2]: row.track for row in tracker.seen}


def still(boxes: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return boxes, landmarks, np.ones(len(boxes), bool)


def lost(boxes: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return boxes, landmarks, np.zeros(len(boxes), bool)


def test_a_face_that_overlaps_its_track_keeps_its_number_and_a_new_one_gets_another() -> None:
    tracker = Tracker()
    tracker.update(found((0, 0), (200, 0)), [A, B], 0.0)
    tracker.update(found((210, 5), (10, 5), (100, 100)), [B, A, A], 0.2)
    assert numbers(tracker) == {(10, 5): 1, (210, 5): 2, (100, 100): 3}


@pytest.mark.parametrize(("gap", "kept"), [(1.5, True), (2.5, False)])
def test_a_number_survives_a_short_occlusion(gap: float, kept: bool) -> None:
    tracker = Tracker(keep=2.0)
    tracker.update(found((0, 0)), [A], 0.0)
    assert not tracker.move(lost, 0.04)
    assert len(tracker.seen) == 0
    tracker.update(found(), [], 0.2)
    tracker.update(found((60, 0)), [A], gap)
    assert numbers(tracker) == {(60, 0): 1 if kept else 2}


def test_another_person_does_not_get_the_number_of_a_hidden_one() -> None:
    tracker = Tracker()
    tracker.update(found((0, 0)), [A], 0.0)
    tracker.move(lost, 0.1)
    tracker.update(found((0, 0)), [B], 0.2)
    assert numbers(tracker) == {(0, 0): 2}
    tracker.move(lost, 0.3)
    tracker.update(found((5, 0)), [A], 0.4)
    assert numbers(tracker) == {(5, 0): 1}


def test_a_hidden_face_cannot_come_from_afar() -> None:
    tracker = Tracker()
    tracker.update(found((0, 0)), [A], 0.0)
    tracker.move(lost, 0.1)
    tracker.update(found((400, 0)), [A], 0.2)
    assert numbers(tracker) == {(400, 0): 2}


def test_two_that_cross_keep_their_numbers_by_their_looks() -> None:
    tracker = Tracker()
    tracker.update(found((0, 0), (45, 0)), [A, B], 0.0)
    tracker.update(found((15, 0), (25, 0)), [A, B], 0.1)
    tracker.update(found((20, 0), (5, 0)), [A, B], 0.2)
    assert numbers(tracker) == {(20, 0): 1, (5, 0): 2}


def test_only_a_sure_face_begins_a_track_and_an_unsure_one_continues_it() -> None:
    tracker = Tracker(sure=0.9)
    tracker.update(found((0, 0), score=0.8), [A], 0.0)
    assert len(tracker.seen) == 0
    tracker.update(found((0, 0)), [A], 0.2)
    tracker.update(found((3, 0), score=0.8), [A], 0.4)
    assert numbers(tracker) == {(3, 0): 1}


def test_a_face_that_is_followed_may_be_missed_a_few_times() -> None:
    tracker = Tracker(patience=2)
    tracker.update(found((0, 0)), [A], 0.0)
    for time in (0.2, 0.4):
        tracker.move(still, time)
        tracker.update(found(), [], time)
        assert numbers(tracker) == {(0, 0): 1}
    tracker.move(still, 0.6)
    tracker.update(found(), [], 0.6)
    assert len(tracker.seen) == 0


def test_a_followed_face_that_looks_like_another_thing_is_hidden() -> None:
    tracker = Tracker()
    tracker.update(found((0, 0)), [A], 0.0)
    assert tracker.confirm(1, A)
    assert not tracker.confirm(1, B)
    assert len(tracker.seen) == 0


def test_recorded_tracks_go_on() -> None:
    tracker = Tracker()
    tracker.start(replace(found((0, 0)), tracks=np.array([7])), [A], 1.0)
    tracker.update(found((5, 0), (300, 0)), [A, B], 1.2)
    assert numbers(tracker) == {(5, 0): 7, (300, 0): 8}


def test_looks_ignore_light_and_contrast() -> None:
    crop = Image.effect_noise((48, 48), 60)
    assert appearance(crop) @ appearance(crop.point(lambda value: value / 2 + 20)) > 0.99
    assert appearance(Image.new("L", (48, 48))).tolist() == [0.0] * 256
    assert abs(A @ B) < 0.4


def test_overlaps_are_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30.0]])
    np.testing.assert_allclose(overlaps(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="keep is -1; expected seconds, at least 0"):
        Tracker(keep=-1)
    with pytest.raises(InputError, match="detected faces lack boxes, landmarks or scores"):
        Tracker().update(Faces(), [], 0.0)
