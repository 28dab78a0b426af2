"""The tables say what the result files say, with statistics that are known by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from results import record, store

from benchmarks.ferplus import tables
from benchmarks.ferplus.statistics import clear, difference
from qcs.errors import InputError


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Base 70, 72, 74 and QCS 71, 74, 77: differences 1, 2, 3, so 2 ± 1/√3, and t = 2√3 with two degrees of freedom."""
    base = [record("base", seed, right) for seed, right in enumerate((70, 72, 74))]
    qcs = [record("qcs", seed, right) for seed, right in enumerate((71, 74, 77))]
    return store(tmp_path / "results", *base, *qcs, record("dcs", 0, 70))


def test_mean_deviation_difference_and_tests(results: Path) -> None:
    page = tables.page(tables.read(results))
    row = next(line for line in page.splitlines() if line.startswith("| `qcs` | 3"))
    assert "| 74.00 ± 3.00 | 37.00 ± 1.50 | +2.00 ± 0.58 | 0.074 |" in row
    assert row.endswith("| +1.00 ± 0.29 | `base` |")
    assert "| `base` | 3 | 72.00 ± 2.00 | 36.00 ± 1.00 | – | – | – | – | – |" in page
    assert "| `dcs` | 1 | 70.00 | 35.00 | +0.00 | – | – | +0.00 | `base` |" in page
    assert (
        "above its baseline: none; below its baseline: none; no clear difference: `qcs`" in page
    )  # 3.5 standard errors, but p = 0.074
    assert "how many they have: `start` (0), `base-quadruplets` (0), `base-sam` (0), `dcs` (1)" in page


def test_a_difference_is_clear_by_its_t_test_corrected_for_the_other_comparisons(tmp_path: Path) -> None:
    """Differences from the base of -5, -5, -6 (t = -16, p = 0.004), of 2, 3, 4 (p = 0.035, corrected 0.053), and 0."""
    rights = {"base": (70, 72, 74), "base-sam": (65, 67, 68), "dcs": (72, 75, 78), "qcs": (70, 72, 74)}
    records = [record(name, seed, right) for name, row in rights.items() for seed, right in enumerate(row)]
    page = tables.page(tables.read(store(tmp_path / "results", *records)))
    assert "| +3.00 ± 0.58 | 0.035 |" in page
    assert (
        "correction for the 3 comparisons of this table): above its baseline: none; below its baseline: `base-sam`; no "
        "clear difference: `dcs`, `qcs`." in page
    )
    assert clear([0.035]) == [True]


def test_every_comparison_of_the_table_is_corrected_for_and_named(results: Path) -> None:
    """QCS stands beside its base and beside `base-quadruplets`, which is 71, 72, 76: differences 0, 2, 1."""
    store(results, *(record("base-quadruplets", seed, right) for seed, right in enumerate((71, 72, 76))))
    page = tables.page(tables.read(results))
    rows = [line for line in page.splitlines() if line.startswith("| `qcs` | 3 | 74.00 ± 3.00 | 37.00")]
    assert [row.split("|")[5].strip() for row in rows] == ["+2.00 ± 0.58", "+1.00 ± 0.58"]
    assert [row.split("|")[9].strip() for row in rows] == ["`base`", "`base-quadruplets`"]
    assert "for the 3 comparisons of this table)" in page
    assert "no clear difference: `base-quadruplets`, `qcs`, `qcs` (against `base-quadruplets`)." in page


def test_one_seed_over_images_is_mcnemar() -> None:
    """25 images won and 9 lost of 3,000: McNemar's z is 16/√34, p = 0.0061."""
    mine = np.array([[True] * 25 + [False] * 9 + [True] * 2966])
    other = np.array([[False] * 25 + [True] * 9 + [True] * 2966])
    found = difference([mine.mean()], [other.mean()], mine, other)
    assert found.mean == pytest.approx(16 / 3000)
    assert found.over_images == pytest.approx(math.erfc(16 / math.sqrt(34) / math.sqrt(2)), rel=0.02)
    assert math.isnan(found.over_runs)


def test_the_same_images_in_more_seeds_are_no_more_images() -> None:
    """Three times the same predictions are worth as much as one of them."""
    random = np.random.default_rng(0)
    mine, other = random.random((2, 1, 500)) < 0.8
    once = difference([mine.mean()], [other.mean()], mine, other)
    thrice = difference(
        *([each.mean()] * 3 for each in (mine, other)), *(np.repeat(each, 3, 0) for each in (mine, other))
    )
    assert thrice.over_images == pytest.approx(once.over_images)


def test_the_shortcut_has_a_table(tmp_path: Path) -> None:
    measures = dict(coinciding=0.9, conflicting=0.5, called=0.25, called_without=0.05, saliency=1.5, attention=None)
    runs = [
        record("synthetic-base", seed, 0, measures=measures, data={"synthetic faces": "cd" * 32}) for seed in (0, 1)
    ]
    page = tables.page(tables.read(store(tmp_path / "results", *runs)))
    percents = " | ".join(f"{percent}.00 ± 0.00" for percent in (90, 50, 40, 25, 5))
    assert f"| `synthetic-base` | 2 | {percents} | 1.50 ± 0.00 | – |" in page


def test_noisy_labels_are_compared_with_their_own_base(tmp_path: Path) -> None:
    pair = [record("base-fer2013", 0, 60), record("qcs-fer2013", 0, 64)]
    page = tables.page(tables.read(store(tmp_path / "results", record("base", 0, 90), *pair)))
    row = next(line for line in page.splitlines() if line.startswith("| `qcs-fer2013` | 1"))
    assert "| +4.00 |" in row
    assert row.endswith("| `base-fer2013` |")


def test_runs_that_cannot_be_compared_are_refused(results: Path) -> None:
    store(results, record("dcs", 1, 70, budget={"views": 19_200, "network": "nano"}))
    with pytest.raises(InputError, match="more than one budget"):
        tables.read(results)
    store(results, record("dcs", 1, 70, precision="fp32"))
    with pytest.raises(InputError, match='more than one precision: "bf16"; "fp32"'):
        tables.read(results)
    store(results, record("dcs", 1, 70, versions={"torch": "2.1"}))
    with pytest.raises(InputError, match="more than one set of versions"):
        tables.read(results)
    store(results, record("dcs", 1, 70, condition="dsc"))
    with pytest.raises(InputError, match="'dsc', which is not in the plan"):
        tables.read(results)
    (results / "dcs-seed1.json").write_text("{}")
    with pytest.raises(InputError, match="not a result of a run"):
        tables.read(results)
