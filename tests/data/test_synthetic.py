"""Synthetic faces: labeled evenly, reproducible to the byte, and expressive only where the masks say so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import qcs.data.synthetic as synthetic
from qcs.data.synthetic import EXPRESSIONS, SyntheticFaces, synthetic_faces
from qcs.data.synthetic.draws import Draws, take
from qcs.data.synthetic.expressions import Expressions, draw_expressions
from qcs.data.synthetic.people import draw_people
from qcs.data.synthetic.shots import draw_shots
from qcs.errors import InputError


def assert_same(one: SyntheticFaces, other: SyntheticFaces) -> None:
    for field in dataclasses.fields(SyntheticFaces):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def first(faces: SyntheticFaces, count: int) -> SyntheticFaces:
    columns = {f.name: getattr(faces, f.name)[:count] for f in dataclasses.fields(faces) if f.name != "classes"}
    return dataclasses.replace(faces, **columns)


def test_shapes_and_types_are_as_documented() -> None:
    faces = synthetic_faces(5, size=20)
    assert faces.images.shape == (5, 20, 20, 3) and faces.images.dtype == np.uint8
    assert faces.masks.shape == (5, 20, 20) and faces.masks.dtype == np.bool_
    for column, dtype in ((faces.labels, np.int64), (faces.identities, np.int64), (faces.glasses, np.bool_)):
        assert column.shape == (5,) and column.dtype == dtype
    assert faces.classes == EXPRESSIONS


def test_same_arguments_give_same_bytes() -> None:
    assert_same(synthetic_faces(30, seed=3, identities=4), synthetic_faces(30, seed=3, identities=4))


@pytest.mark.parametrize("identities", [None, 3])
def test_first_faces_of_a_larger_set_are_the_smaller_set(identities: int | None) -> None:
    assert_same(first(synthetic_faces(40, identities=identities), 17), synthetic_faces(17, identities=identities))


def test_faces_do_not_depend_on_chunk_boundaries(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = synthetic_faces(23)
    monkeypatch.setattr(synthetic, "_PIXELS_AT_ONCE", 3 * 48**2)
    assert_same(whole, synthetic_faces(23))


@pytest.mark.parametrize("count", [1, 7, 60, 701])
def test_classes_are_as_equal_as_possible(count: int) -> None:
    tally = np.bincount(synthetic_faces(count, size=16).labels, minlength=len(EXPRESSIONS))
    assert tally.sum() == count and tally.max() - tally.min() <= 1


def test_labels_are_shuffled() -> None:
    labels = synthetic_faces(70, size=16).labels.reshape(10, 7)
    assert len({tuple(run) for run in labels}) > 5


def test_identities_take_turns() -> None:
    np.testing.assert_array_equal(synthetic_faces(8, size=16, identities=3).identities, [0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(synthetic_faces(4, size=16).identities, np.arange(4))


def test_other_seeds_draw_other_people() -> None:
    here, there = draw_people(0, 300), draw_people(1, 300)
    skins = [people.skin[:, :, 0] for people in (here, there)]
    assert not {tuple(skin) for skin in skins[0]} & {tuple(skin) for skin in skins[1]}


def test_glasses_are_marked_where_worn(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = synthetic_faces(60)
    assert 0 < faces.glasses.sum() < 60
    monkeypatch.setattr(synthetic, "draw_glasses", lambda *_: None)
    changed = (synthetic_faces(60).images != faces.images).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(changed, faces.glasses)


def test_expression_changes_the_picture_within_the_masks_and_their_shadows_only() -> None:
    """The same person in the same shot, relaxed and showing each expression."""
    size = 48
    labels = np.arange(len(EXPRESSIONS))
    same = np.zeros_like(labels)
    person = take(draw_people(0, 1), same)
    shot = dataclasses.replace(
        draw_shots(5, 7), noise=np.zeros((7, 1, 1), np.float32), blur=np.zeros((7, 1, 1), np.float32)
    )
    shot = take(shot, same)
    moves = draw_expressions(0, labels)
    relaxed = Expressions(*(np.zeros((7, 1, 1), np.float32) for _ in dataclasses.fields(Expressions)))
    grain = np.random.default_rng(0)
    shown, mask = synthetic._draw(person, moves, shot, size, grain)
    calm, calm_mask = synthetic._draw(person, relaxed, shot, size, grain)
    change = np.abs(shown.astype(int) - calm).max(axis=3)
    inside = mask | calm_mask
    # Outlines fade over one pixel and the lower lip casts a soft shadow: a little may change outside.
    assert change[~inside].sum() < 0.15 * change.sum()
    assert (change[1:].max(axis=(1, 2)) > 60).all()


def test_masks_cover_a_small_part_of_every_face() -> None:
    share = synthetic_faces(140).masks.mean(axis=(1, 2))
    assert share.min() > 0.03 and share.max() < 0.2


def test_larger_pictures_show_the_same_faces() -> None:
    small, large = synthetic_faces(10, size=32), synthetic_faces(10, size=96)
    shrunk = large.images.reshape(10, 32, 3, 32, 3, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small.images).mean() < 8
    overlap = (large.masks.reshape(10, 32, 3, 32, 3).mean(axis=(2, 4)) > 0.5) == small.masks
    assert overlap.mean() > 0.95


def test_skin_runs_from_deep_to_pale() -> None:
    brightness = draw_people(0, 500).skin.mean(axis=(1, 2))
    assert brightness.min() < 0.3 and brightness.max() > 0.8


def test_draws_stay_within_their_bounds() -> None:
    draws = Draws(0, "test", 2000)
    assert draws.uniform(2, 3).min() >= 2 and draws.uniform(2, 3).max() < 3
    assert np.abs(draws.normal(1, 0.5) - 1).max() <= 1
    assert 0.2 < draws.chance(0.25).mean() < 0.3
    picked = draws.choice([(0, 0), (1, 10)], (1, 3))
    assert picked.shape == (2000, 2, 1) and 0.7 < picked[:, 0].mean() < 0.8
    np.testing.assert_array_equal(picked[:, 1], 10 * picked[:, 0])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"count": 0}, "count is 0"),
        ({"count": 7, "size": 15}, "size is 15"),
        ({"count": 7, "seed": -1}, "seed is -1"),
        ({"count": 7, "identities": 0}, "identities is 0"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, int], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        synthetic_faces(**arguments)
