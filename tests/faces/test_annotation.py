"""What is drawn into a picture, and that it stays inside."""

from __future__ import annotations

import numpy as np
import pytest
from fixed_faces import face
from PIL import Image

from qcs.faces import Faces, annotate

BLUE = (86, 180, 233)


def blue(image: Image.Image) -> np.ndarray:
    return (np.asarray(image) == BLUE).all(-1)


def test_the_box_is_on_the_edges_of_the_face_and_the_rest_is_untouched() -> None:
    picture = Image.new("RGB", (200, 300), (10, 20, 30))
    drawn = annotate(picture, Faces.of([face(50, 100, 80)]), ["sad 51%"])
    assert drawn.size == picture.size
    for place in ((50, 140), (130, 140), (90, 180)):
        assert drawn.getpixel(place) == BLUE
    assert (np.asarray(drawn)[103:178, 53:128] == (10, 20, 30)).all()
    assert (np.asarray(drawn)[185:] == (10, 20, 30)).all()
    assert not blue(picture).any()  # the picture itself is left alone


@pytest.mark.parametrize("corner", [(-20, -20), (150, 0), (150, 150), (0, 190)])
def test_a_label_without_room_above_the_box_moves_into_the_picture(corner: tuple[int, int]) -> None:
    picture = Image.new("L", (200, 200))
    label = blue(annotate(picture, Faces.of([face(*corner, 60)]), ["happy 99.9%"]))
    boxes = blue(annotate(picture, Faces.of([face(*corner, 60)]), [""]))
    assert label.sum() > boxes.sum() + 500


@pytest.mark.parametrize(("side", "least", "most"), [(200, 8, 25), (2000, 35, 80)])
def test_letters_grow_with_the_picture(side: int, least: int, most: int) -> None:
    drawn = blue(annotate(Image.new("RGB", (side, side)), Faces.of([face(side / 2, side / 2, side / 4)]), ["happy"]))
    above = drawn[: side // 2 - 1, side // 2 :]
    assert least < above.any(1).sum() < most


def test_a_picture_without_faces_is_its_copy() -> None:
    picture = Image.effect_noise((50, 40), 60)
    assert annotate(picture, Faces.of([])).tobytes() == picture.convert("RGB").tobytes()
