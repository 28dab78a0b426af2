"""Tables of results whose figures are known by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from stored import store

from qcs.crossval import read_results, write_tables
from qcs.crossval.tables import figure, latex, markdown, summary
from qcs.errors import InputError

VALUES = {"good": [0.80, 0.82, 0.84], "bad|_net": [0.70, None, 0.75]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store(tmp_path, "honest", VALUES)
    return store(tmp_path, "published", {"good": [0.9, 0.9, 0.9]})


def test_means_and_deviations(folder: Path) -> None:
    bad, good = read_results(folder).rows("honest", "faces")
    assert good.spread("accuracy") == pytest.approx((0.82, 0.02))
    assert bad.spread("accuracy") == pytest.approx((0.725, 0.05 / math.sqrt(2)))
    assert good.spread("balanced_accuracy") == pytest.approx((0.41, 0.01))


def test_a_failed_repeat_is_shown_and_named(folder: Path) -> None:
    text = markdown(read_results(folder))
    assert "| good | 82.0 ± 2.0 | 41.0 ± 1.0 | 3 |" in text
    assert "| bad¦_net | 72.5 ± 3.5 † | 36.2 ± 1.8 † | 2 of 3, failed: 1 |" in text
    assert "- bad|_net on faces, honest, repeat 1: the loss became nan" in text


def test_pairs_are_compared_over_the_repeats_that_both_finished(folder: Path) -> None:
    (pair,) = read_results(folder).comparisons("honest", "faces", "accuracy")
    assert (pair.test.repeats, pair.test.difference) == (2, pytest.approx(-0.095))
    assert "| bad¦_net − good | -9.5 |" in markdown(read_results(folder))


def test_the_overlap_is_that_of_the_split_unless_the_test_set_is_official(tmp_path: Path) -> None:
    store(tmp_path / "a", "honest", VALUES)
    store(tmp_path / "b", "honest", VALUES, official=True)
    drawn, official = (read_results(tmp_path / name).results[0].overlap for name in ("a", "b"))
    assert (drawn, official) == (pytest.approx(1 / 3), 0.0)


def test_latex_is_escaped_and_balanced(folder: Path) -> None:
    text = latex(read_results(folder))
    assert r"bad|\_net & 72.5\,$\pm$\,3.5$^\dagger$ & 36.2\,$\pm$\,1.8$^\dagger$ \\" in text
    assert text.count("\\begin{tabular}") == text.count("\\end{tabular}") == 2
    assert "failed" not in text and "†" not in text


def test_the_files_hold_the_tables(folder: Path) -> None:
    results = read_results(folder)
    assert [path.name for path in write_tables(results, folder)] == ["crossval.md", "crossval.tex", "crossval.json"]
    record = json.loads((folder / "crossval.json").read_text())
    assert record == json.loads(json.dumps(summary(results)))
    assert record["networks"][1]["accuracy"]["mean"] == pytest.approx(0.82)
    assert record["networks"][0]["failed"] == [1]


def test_all_repeats_failed() -> None:
    assert figure(None, "accuracy") == "–"


def test_cells_without_a_result_are_counted(folder: Path) -> None:
    plan = {"data": {"faces": {"path": "x"}}, "networks": {"good": {"model": "base_nano"}}, "repeats": 5}
    (folder / "plan.json").write_text(json.dumps(plan))
    assert "**2 cells of the plan have no result yet**, first: good on faces, honest, repeat 3." in markdown(
        read_results(folder)
    )


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no results; expected results/\*\.json"):
        read_results(tmp_path)


def change(folder: Path, **changes: Any) -> None:
    path = folder / "results" / "honest-faces-good-01.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "has format 2; this version of qcs reads format 1"),
        ({"status": "perhaps"}, "is no result of a bench: .*remove it and run its cell again"),
        ({"test": {}}, "is no result of a bench"),
        ({"settings": {"lr": 2}}, "the repeats of good on faces, honest in .* differ in settings"),
    ],
)
def test_corrupt_results_are_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    change(folder, **changes)
    with pytest.raises(InputError, match=message):
        read_results(folder)


def test_a_truncated_result_is_named(folder: Path) -> None:
    path = folder / "results" / "honest-faces-good-01.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(InputError, match=r"honest-faces-good-01\.json is no result of a bench"):
        read_results(folder)
