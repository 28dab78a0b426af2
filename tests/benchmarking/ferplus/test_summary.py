"""The page of results says what the tables say, and the committed pages are what the files give."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from results import record, store

from benchmarks.ferplus import summary, tables
from benchmarks.ferplus.__main__ import DOCS
from benchmarks.ferplus.figure import LEFT, RIGHT, WIDTH, Bar, intervals
from benchmarks.ferplus.run import RESULTS


def runs(folder: Path, **rights: tuple[int, ...]) -> tables.Runs:
    """Return runs that get so many of 100 images right, by condition and seed."""
    records = [record(name.replace("_", "-"), seed, n) for name, row in rights.items() for seed, n in enumerate(row)]
    return tables.read(store(folder / "results", *records))


def test_differences_have_intervals_of_the_t_distribution(tmp_path: Path) -> None:
    """Differences of 1, 2, 3: 2 ± 4.3027 / √3."""
    found = runs(tmp_path, base=(70, 72, 74), qcs=(71, 74, 77), dcs=(70,))
    page = summary.page(found).replace(summary.NO_BREAK, " ")
    assert "| QCS | base | 74.00 ± 3.00 | +2.00 (-0.48 to +4.48) | 37.00 ± 1.50 | +1.00 (-0.24 to +2.24) |" in page
    assert "| DCS | base | 70.00 | +0.00 | 35.00 | +0.00 |" in page
    assert (
        "Of 1 comparisons with a baseline" in page and "0 are clearly above it, 0 are clearly below it, and 1" in page
    )
    assert summary.figure(found).count("<circle") == 2


def test_a_clear_difference_is_named(tmp_path: Path) -> None:
    page = summary.page(runs(tmp_path, base=(70, 72, 74), base_sam=(60, 62, 65)))
    assert "0 are clearly above it, 1 are clearly below it (`base-sam`), and 0 show" in page


def test_without_runs_the_page_says_so(tmp_path: Path) -> None:
    assert summary.page(tables.read(tmp_path)).endswith("No comparison has finished yet.\n")


def test_the_figure_has_dots_at_the_means_and_lines_over_the_intervals() -> None:
    svg = intervals([Bar("a < b", 1.0, 3.0), Bar("c", -2.0, math.nan)], "points")
    ElementTree.fromstring(svg)  # well-formed
    unit = (WIDTH - LEFT - RIGHT) / 8  # the axis reaches from -4 to 4
    zero = LEFT + 4 * unit
    assert [float(x) for x in re.findall(r'cx="([^"]+)"', svg)] == pytest.approx(
        [zero + unit, zero - 2 * unit], abs=0.1
    )
    [ends] = re.findall(r'd="M([\d.]+) \d+H([\d.]+)"', svg)
    assert [float(x) for x in ends] == pytest.approx([zero - 2 * unit, zero + 4 * unit], abs=0.1)
    assert "a &lt; b" in svg


def test_the_committed_pages_and_figure_are_what_the_files_give() -> None:
    for name, content in summary.whole(RESULTS).items():
        assert (DOCS / name).read_text(encoding="utf-8") == content, "run: python -m benchmarks.ferplus tables"
