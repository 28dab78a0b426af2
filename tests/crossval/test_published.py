"""The published splits, to the last index."""

from __future__ import annotations

import numpy as np
import pytest

from qcs.crossval import PUBLISHED_SIZES, published_split
from qcs.crossval.published import VARIANTS
from qcs.errors import InputError

SIZES = {
    "raf_db": [9203, 3068, 3068],
    "fer2013": [21531, 7178, 7178],
    "ferplus": [21426, 7142, 7143],
    "expw": [54336, 18112, 18112],
    "sfew": [980, 327, 327],
    "ckplus": [588, 196, 197],
}
"""As the published comparison states them."""


@pytest.mark.parametrize("data", SIZES)
def test_sizes_are_those_of_the_published_comparison(data: str) -> None:
    assert [len(part) for part in published_split(PUBLISHED_SIZES[data], 0)] == SIZES[data]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_image_is_in_one_set(variant: str) -> None:
    split = published_split(981, 7, variant)  # type: ignore[arg-type]
    assert sorted(np.concatenate(split)) == list(range(981))


def test_the_integer_variant_does_not_shuffle_twice() -> None:
    common, integer = published_split(1634, 3), published_split(1634, 3, "integer")
    assert [len(part) for part in integer] == [982, 326, 326]
    # ⌈N/5⌉ is one more than ⌊N/5⌋, so one image of the common test set begins the training set of the other.
    assert integer.test.tolist() == common.test.tolist()[:-1] and integer.train[0] == common.test[-1]


def test_the_other_fraction_keeps_the_test_set() -> None:
    common, other = published_split(15339, 1), published_split(15339, 1, "64-16-20")
    assert [len(part) for part in other] == [9816, 2455, 3068]
    assert np.array_equal(common.test, other.test)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 0), "4 images are too few"),
        ((100, -1), "the repeat is -1"),
        ((100, 0, "other"), "variant must be one of common, integer, 64-16-20"),
    ],
)
def test_bad_input(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        published_split(*arguments)  # type: ignore[arg-type]
