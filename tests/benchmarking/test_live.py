"""Figures on a video of known people, from records that are made up."""

from __future__ import annotations

from typing import Any

from benchmarks.live import differences, hits, ids, labels


def truth(frames: int) -> list[dict[str, Any]]:
    def face(name: str, x: float, visible: bool = True) -> dict[str, Any]:
        return {"person": name, "label": "happiness", "box": [x, 0, x + 100, 100], "visible": visible}

    return [
        {"seconds": n / 25, "scene": 0, "faces": [face("a", 0), face("b", 300, visible=n != 1)]} for n in range(frames)
    ]


def result(frame: int, *faces: tuple[int, float, str]) -> dict[str, Any]:
    return {
        "frame": frame,
        "faces": [{"track": track, "box": [x, 0, x + 100, 100], "label": label} for track, x, label in faces],
    }


RESULTS = [
    result(0, (1, 5, "happy"), (2, 310, "sad")),
    result(1, (1, 5, "sad"), (2, 300, "sad")),
    result(2, (1, 39, "happy"), (3, 341, "sad")),  # b is too far to be found
    result(3, (1, 0, "happy"), (3, 290, "sad")),
]


def test_numbers_are_counted_where_the_face_is_visible_and_found() -> None:
    pairs = hits(truth(4), RESULTS)
    assert len(pairs) == 7  # one is hidden
    assert ids(pairs) == {
        "people": 2,
        "kept": 1,
        "switches": 1,
        "mix_ups": 0,
        "faces_found": round(6 / 7, 4),
        "faces_with_main_number": round(5 / 6, 4),
    }


def test_a_number_of_two_people_is_a_mix_up() -> None:
    swapped = [result(0, (1, 0, "sad"), (2, 300, "sad")), result(1), result(2, (2, 0, "sad"), (1, 300, "sad"))]
    assert ids(hits(truth(3), swapped)) | {"faces_found": 0} == {
        "people": 2,
        "kept": 0,
        "switches": 2,
        "mix_ups": 2,
        "faces_found": 0,
        "faces_with_main_number": 0.5,
    }


def test_label_changes_are_per_minute_of_a_face() -> None:
    found = labels(hits(truth(4), RESULTS))
    assert found == {
        "changes_per_minute": round(2 / (6 / 25 / 60), 1),
        "true_changes_per_minute": 0.0,
        "right": 0.5,
    }


def test_what_an_interruption_changed_is_counted() -> None:
    again = [RESULTS[0], RESULTS[1], RESULTS[1], result(3, (9, 0, "happy"))]
    assert differences(RESULTS, again) == {"frames": 4, "missing": 1, "twice": 1, "frames_with_other_numbers": 2}
