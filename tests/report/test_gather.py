"""What a report finds of a run: all of a whole one; of others what there is, and a line on each thing that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy

from qcs.engine.prediction_file import FILE
from qcs.errors import InputError
from qcs.report.gather import DataLocation, Run, gather


def one(path: Path, location: DataLocation | None = None) -> Run:
    (run,) = gather([path], location or DataLocation())
    return run


def test_a_whole_run_is_known_in_full(runs: Path) -> None:
    run = one(runs / "base")
    assert run.missing == []
    assert (run.name, run.data, len(run.history)) == ("base", "faces.csv", 2)
    assert run.predictions is not None
    assert run.images is not None
    assert run.results["test"].images == len(run.images) == len(run.predictions.labels) == 15
    assert run.images.names.tolist() == run.predictions.names.tolist()
    assert set(run.groups["group"]) == {"old", "young"}


def test_predictions_that_a_run_did_not_keep_are_made_again_from_its_weights(runs: Path) -> None:
    kept = one(runs / "base").predictions
    (runs / "base" / FILE).unlink()
    again = one(runs / "base")
    assert kept is not None
    assert again.predictions is not None
    assert again.missing == []
    assert np.allclose(again.predictions.probabilities, kept.probabilities, atol=1e-5)
    assert again.predictions.names.tolist() == kept.names.tolist()


def test_without_data_there_is_what_the_run_kept_and_a_line_on_the_images(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "base", tmp_path / "base")
    record = json.loads((tmp_path / "base" / "config.json").read_text())
    record["config"]["data"] = "gone/faces.csv"
    (tmp_path / "base" / "config.json").write_text(json.dumps(record))
    run = one(tmp_path / "base")
    assert run.missing == ["the data gone/faces.csv does not exist; give its path with --data"]
    assert run.predictions is not None
    assert run.images is None
    assert run.groups == {}
    found = one(tmp_path / "base", DataLocation(data=str(trained / "faces.csv")))
    assert found.missing == []
    assert found.images is not None


def test_other_images_are_not_taken_for_those_tested(runs: Path, tmp_path: Path) -> None:
    other = toy.archive(tmp_path / "other.npz", "test")
    run = one(runs / "base", DataLocation(data=str(other)))
    assert run.images is None
    assert run.missing == [
        "the test images found are not those that the run was tested on; give their path with --data"
    ]
    (runs / "base" / FILE).unlink()
    header, _, *others = (runs / "faces.csv").read_text().splitlines()
    fewer = toy.lines(tmp_path / "fewer.csv", [header, *others])
    run = one(runs / "base", DataLocation(data=str(fewer), image_root=str(runs)))
    assert run.predictions is None
    assert len(run.missing) == 1


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", "[{", "metrics.json is corrupt: "),
        ("metrics.json", "[]", "metrics.json was not written by a run: expected one record per epoch"),
        ("metrics.json", '[{"epoch": "one"}]', "metrics.json was not written by a run"),
        ("metrics.json", "7", "metrics.json was not written by a run"),
        ("metrics.json", None, "metrics.json: the run has not reached that point"),
        (
            "test.json",
            '{"confusion": [[1, 2]]}',
            "test.json was not written by a run: expected loss, classes and a confusion matrix",
        ),
        (
            "test.json",
            '{"confusion": [[1, -2], [0, 0]], "loss": 1, "classes": ["a", "b"]}',
            "test.json was not written by",
        ),
        ("test.json", '{"confusion": [["a"]], "loss": 1, "classes": ["a"]}', "test.json was not written by a run"),
        ("validation.json", "\x00", "validation.json is corrupt: "),
        (FILE, "PK", f"{FILE} is corrupt: "),
    ],
)
def test_a_corrupt_file_costs_its_part_and_a_line(runs: Path, file: str, content: str | None, message: str) -> None:
    path = runs / "base" / file
    path.unlink()
    if content is not None:
        path.write_text(content)
    run = one(runs / "base")
    assert len(run.missing) == 1
    assert message in run.missing[0]
    assert "\n" not in run.missing[0]


def test_predictions_of_another_run_are_not_taken_for_its_own(runs: Path) -> None:
    shutil.copy(runs / "quadruplet" / FILE, runs / "base" / FILE)
    (runs / "base" / "test.json").write_text(
        json.dumps({"confusion": [[5, 0, 0], [0, 5, 0], [4, 0, 1]], "loss": 1.0, "classes": list(toy.CLASSES)})
    )
    assert f"{FILE} does not match the test result of the run" in one(runs / "base").missing[0]


def test_test_images_of_an_unfinished_run_stay_untouched(runs: Path) -> None:
    for name in ("test.json", "validation.json", FILE):
        (runs / "base" / name).unlink()
    run = one(runs / "base")
    assert run.predictions is None
    assert run.images is None
    assert run.missing == [
        f"there is no {runs / 'base' / name}.json: the run has not reached that point"
        for name in ("validation", "test")
    ]


@pytest.mark.parametrize("content", ["{", "[]", '{"config": {}}', '{"config": {}, "images": {"train": {"a": "x"}}}'])
def test_a_folder_without_the_settings_of_a_run_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match="does not hold the settings of a run"):
        one(tmp_path)


def test_a_run_given_twice_is_refused(trained: Path) -> None:
    with pytest.raises(InputError, match="given twice"):
        gather([trained / "base", trained / "quadruplet" / ".." / "base"], DataLocation())


def test_groups_come_from_another_list_where_one_is_given(runs: Path, tmp_path: Path) -> None:
    names = one(runs / "base").predictions
    assert names is not None
    rows = (f"{name},{'cat' if row % 2 else 'dog'}" for row, name in enumerate(names.names))
    listed = toy.lines(tmp_path / "groups.csv", ["path,pet", *rows])
    run = one(runs / "base", DataLocation(groups=("pet",), group_list=str(listed)))
    assert set(run.groups["pet"]) == {"cat", "dog"}
    with pytest.raises(InputError, match="expected path and pet"):
        one(runs / "base", DataLocation(groups=("pet",)))


def test_a_list_that_names_none_of_the_images_costs_the_groups_unless_they_were_asked_for(
    runs: Path, tmp_path: Path
) -> None:
    other = toy.lines(tmp_path / "other.csv", ["path,label,group", "x.png,sad,old"])
    run = one(runs / "base", DataLocation(data=str(other)))
    assert run.groups == {} and run.predictions is not None
    assert [line for line in run.missing if "names none of the test images" in line]
    for asked in (DataLocation(data=str(other), groups=("group",)), DataLocation(group_list=str(other))):
        with pytest.raises(InputError, match="names none of the test images"):
            one(runs / "base", asked)


def test_what_fails_alike_many_times_is_said_once(made: Callable[..., Run]) -> None:
    run = made("a", None)

    def fail() -> None:
        raise OSError("the disk is gone")

    for _ in range(3):
        assert run.attempt(fail, None) is None
    assert run.missing == ["the disk is gone"]


def test_runs_of_one_name_are_distinguished_by_the_folders_above(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "base", tmp_path / "other" / "base")
    assert [run.name for run in gather([runs / "base", tmp_path / "other" / "base"], DataLocation())] == [
        "runs/base",
        "other/base",
    ]
