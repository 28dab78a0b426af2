"""Alignment: the transform is recovered exactly, and pixels land where it says."""

from __future__ import annotations

import math
from itertools import pairwise

import fixed_faces
import numpy as np
import pytest
from PIL import Image

from qcs.errors import InputError
from qcs.faces import CROPS, Face, align, similarity, template

POINTS = np.array([(38.0, 52.0), (73.0, 51.0), (56.0, 72.0), (41.0, 92.0), (71.0, 92.0)])


def known(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return np.column_stack([turn, shift])


@pytest.mark.parametrize("angle", [0, 0.3, -2.5, math.pi])
@pytest.mark.parametrize(("scale", "shift"), [(1, (0, 0)), (0.01, (5, -7)), (40, (-3000, 1e4))])
@pytest.mark.parametrize("count", [2, 5])
def test_a_known_transform_is_recovered(angle: float, scale: float, shift: tuple[float, float], count: int) -> None:
    matrix = known(angle, scale, shift)
    moved = POINTS[:count] @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(similarity(POINTS[:count], moved), matrix, rtol=1e-10, atol=1e-9)


def test_noisy_points_are_matched_better_by_no_other_similarity() -> None:
    noise = np.random.default_rng(0)
    target = POINTS @ known(0.4, 2, (10, 20))[:, :2].T + noise.normal(0, 5, POINTS.shape)

    def error(matrix: np.ndarray) -> float:
        return float(((POINTS @ matrix[:, :2].T + matrix[:, 2] - target) ** 2).sum())

    best = similarity(POINTS, target)
    a, b = best[0, 0], best[1, 0]
    np.testing.assert_array_equal(best[:, :2], [[a, -b], [b, a]])
    for _ in range(200):
        da, db, dx, dy = noise.normal(0, 1e-3, 4)
        assert error(best) < error(best + np.array([[da, -db, dx], [db, da, dy]]))


def test_flipped_points_get_a_rotation_never_a_reflection() -> None:
    flipped = POINTS * (-1, 1)
    assert np.linalg.det(similarity(POINTS, flipped)[:, :2]) >= 0


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([(1, 1)] * 5, POINTS, "all points are equal"),
        (POINTS, [(3, 4)] * 5, "all points are equal"),
        (POINTS, POINTS[:4], r"points have shapes \(5, 2\) and \(4, 2\); expected equal shapes"),
        (POINTS, [(np.nan, 0)] * 5, "of finite values"),
    ],
)
def test_points_that_fix_no_transform_are_refused(source: object, target: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity(np.array(source), np.array(target))


def test_the_arcface_template_is_the_published_one_at_its_size() -> None:
    published = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    np.testing.assert_allclose(template("arcface", 112), published)


def test_the_loose_crop_shows_half_as_much_again_about_the_same_center() -> None:
    np.testing.assert_allclose(1.5 * (template("loose") - 55.5), template("arcface") - 55.5)
    # Published for comparisons over datasets, there scaled about the first pixel's center: a sixth of a pixel off.
    published = [(44.196, 53.131), (67.688, 53.001), (56.017, 66.491), (46.366, 80.244), (65.820, 80.136)]
    np.testing.assert_allclose(template("loose"), np.array(published) - 1 / 6, atol=2e-3)


@pytest.mark.parametrize("crop", CROPS)
def test_a_face_of_another_size_shows_the_same(crop: str) -> None:
    small, large = template(crop, 48), template(crop, 480)
    np.testing.assert_allclose((small + 0.5) / 48, (large + 0.5) / 480)


def own_coordinates() -> Image.Image:
    """A picture whose red is the column and whose green the row of a pixel."""
    column, row = np.meshgrid(np.arange(256), np.arange(256))
    return Image.fromarray(np.stack([column, row, 0 * row], -1).astype(np.uint8))


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [24, 48, 112, 300])
@pytest.mark.parametrize("angle", [0, 0.5])
def test_pixels_come_from_where_the_transform_says(crop: str, size: int, angle: float) -> None:
    matrix = known(angle, 1.6, (60 + 80 * angle, 60 - 90 * angle))  # from the frame of the template to the picture
    places = template(crop) @ matrix[:, :2].T + matrix[:, 2]
    aligned = align(own_coordinates(), Face((0, 0, 1, 1), tuple(map(tuple, places.tolist())), 1.0), size, crop)
    column, row = np.meshgrid(np.arange(size), np.arange(size))
    frame = (np.stack([column, row], -1) + 0.5) * (112 / size) - 0.5
    expected = frame @ matrix[:, :2].T + matrix[:, 2]
    inside = ((expected > 5) & (expected < 250)).all(-1)
    error = np.asarray(aligned)[inside][:, :2] - expected[inside]
    assert inside.mean() > 0.5
    assert np.abs(error).max() <= 1.01  # rounded to 8 bits twice, half a pixel each
    assert np.abs(error.mean(0)).max() < 0.1  # and no shift


def test_the_transform_is_the_one_from_the_picture_to_the_template() -> None:
    # Least squares the other way round gives another scale for landmarks that do not fit exactly.
    picture = Image.new("L", (200, 200))
    face = fixed_faces.face(50, 50, 100)
    matrix = similarity(face.landmarks, template("arcface", 100))
    nose = np.linalg.inv(matrix[:, :2]) @ (np.array([40, 60]) - matrix[:, 2])
    x, y = nose.round().astype(int)
    picture.paste(255, (int(x) - 2, int(y) - 2, int(x) + 3, int(y) + 3))
    row, column = np.argwhere(np.asarray(align(picture, face, 100, "arcface")) > 127).mean(0)
    assert (column, row) == pytest.approx((40, 60), abs=0.6)


def test_shrinking_averages_fine_detail_instead_of_picking_from_it() -> None:
    stripes = np.zeros((1200, 1200), np.uint8)
    stripes[:, ::2] = 255
    aligned = np.asarray(align(Image.fromarray(stripes), fixed_faces.face(200, 200, 700), 48))
    assert np.abs(aligned.astype(float) - 127.5).max() < 13  # one row of the 15 or so that make a pixel


def test_beyond_the_border_is_black_and_gray_stays_gray() -> None:
    aligned = align(Image.new("L", (100, 100), 200), fixed_faces.face(0, -40, 80), 112)
    assert (aligned.mode, aligned.size) == ("L", (112, 112))
    pixels = np.asarray(aligned)
    assert pixels[0].max() == 0
    assert pixels[100, 56] == 200
    assert align(Image.new("P", (100, 100)), fixed_faces.face(0, 0, 80), 10).mode == "RGB"


def test_what_cannot_be_aligned_is_refused() -> None:
    picture, face = Image.new("L", (100, 100)), fixed_faces.face(10, 10, 80)
    with pytest.raises(InputError, match="crop must be one of fer2013, arcface, loose; got 'tight'"):
        align(picture, face, crop="tight")
    with pytest.raises(InputError, match="size is 0; expected a number of pixels"):
        align(picture, face, 0)
    centered = template() - template().mean(0)
    spread = (centered**2).sum(0)
    for stretch in (1.0, 1.01):  # flipped and stretched until no turn is better than another
        landmarks = 50 + centered * (-stretch * spread[1] / spread[0], 1)
        with pytest.raises(InputError, match="are not those of a face"):
            align(picture, Face((0, 0, 1, 1), tuple(map(tuple, landmarks.tolist())), 1.0))
    with pytest.raises(InputError, match="a face has 4 landmarks; expected left_eye, right_eye, nose"):
        Face((0, 0, 1, 1), face.landmarks[:4], 1.0)


def test_crops_are_in_order_of_how_much_they_show() -> None:
    eyes = [template(crop)[1, 0] - template(crop)[0, 0] for crop in CROPS]
    assert all(a > b for a, b in pairwise(eyes))
