"""Groups of images: read from a list, and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import toy
from made_up import predictions

from qcs.errors import InputError
from qcs.report.groups import compare_groups, read_groups

IMAGES = ["a.png", "b.png", "c.png"]


def test_each_image_finds_its_group_by_name(tmp_path: Path) -> None:
    path = toy.lines(
        tmp_path / "list.csv", ["Path,label,Gender,age", "b.png,sad,f,20-29", "a.png,sad,m,", "x.png,sad,f,1"]
    )
    found = read_groups(path, ["gender", "Age"], IMAGES)
    assert {name: groups.tolist() for name, groups in found.items()} == {
        "gender": ["m", "f", "not stated"],
        "age": ["not stated", "20-29", "not stated"],
    }


def test_a_column_called_group_is_taken_by_itself_and_none_is_no_error(tmp_path: Path) -> None:
    path = toy.lines(tmp_path / "list.csv", ["path,group", "a.png,old", "b.png,young", "c.png,old"])
    assert read_groups(path, (), IMAGES)["group"].tolist() == ["old", "young", "old"]
    assert read_groups(toy.lines(tmp_path / "other.csv", ["path,label", "a.png,sad"]), (), IMAGES) == {}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,label", "a.png,sad"], "has the columns path, label; expected path and gender; choose among them with"),
        (["file,gender", "a.png,f"], "has the columns file, gender; expected path and gender"),
        (["path,gender", "x.png,f"], "names none of the test images, the first of which is a.png"),
        ([], "has the columns of an empty file"),
    ],
)
def test_a_list_without_the_groups_asked_for_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_groups(toy.lines(tmp_path / "list.csv", lines), ["gender"], IMAGES)


def test_groups_are_compared_with_all_others_by_hand() -> None:
    shown = predictions([0, 1, 2, 0, 1, 1, 2, 2, 2])  # the last three: only anger is right
    groups = np.array(["young"] * 6 + ["old"] * 3)
    young, old = compare_groups(shown, groups)
    assert (young.name, young.images, young.people, old.name, old.images) == ("young", 6, None, "old", 3)
    assert (young.accuracy.value, old.accuracy.value) == pytest.approx((5 / 6, 1 / 3))
    assert (young.balanced.value, old.balanced.value) == pytest.approx(((1 + 1 + 0.5) / 3, 1 / 3))
    assert (young.gap.value, old.gap.value) == pytest.approx((0.5, -0.5))
    assert old.balanced_gap.value == pytest.approx(1 / 3 - 2.5 / 3)
    assert old.gap.low < -0.5 < old.gap.high


def test_balanced_gaps_are_over_the_classes_that_both_sides_have() -> None:
    shown = predictions([0, 0, 2, 0, 1, 2])
    only_happy_and_sad = np.array([True, True, False, False, False, False])
    small = compare_groups(shown, np.where(only_happy_and_sad, "small", "rest"))[1]
    assert small.balanced.value == 0.5
    assert small.balanced_gap.value == pytest.approx(0.5 - 1)


def test_people_are_counted_where_they_are_known() -> None:
    shown = predictions([0, 1, 2, 0, 1, 2], subjects=["x", "x", "x", "y", "z", "z"])
    assert [each.people for each in compare_groups(shown, np.array(list("aaabbb")))] == [1, 2]


def test_one_group_alone_has_nothing_to_be_compared_with() -> None:
    assert compare_groups(predictions([0, 1, 2]), np.array(["all"] * 3)) == []


def test_groups_of_few_people_are_marked_whatever_their_images() -> None:
    people = [str(row if row < 30 else 30 + row % 2) for row in range(60)]
    groups = np.array(["many"] * 30 + ["two"] * 30)
    known = compare_groups(predictions([0, 1, 2] * 20, subjects=people), groups)
    assert [each.people for each in known] == [30, 2]
    assert all(each.few for each in known)  # the gap of the one is the gap of the other
    assert not any(each.few for each in compare_groups(predictions([0, 1, 2] * 20), groups))
