"""Every measured figure on a page has the file or script that it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from figures import ROOT, of_page, problems, sections

from qcs.engine.evaluation import wilson

# Pages that are made from result files, and the test that makes them again and compares.
GENERATED = {
    "docs/results.md": ("tests/benchmarking/ferplus/test_summary.py", "test_the_committed_pages_and_figure_are"),
    "docs/tables.md": ("tests/benchmarking/ferplus/test_summary.py", "test_the_committed_pages_and_figure_are"),
    "docs/reliability.md": (
        "tests/benchmarking/ferplus/test_trust.py",
        "test_the_committed_page_is_of_the_committed_record",
    ),
    "qcs/weights/README.md": ("tests/models/test_embedded.py", "test_the_card_is_of_these_files"),
}
SECTIONS = [section for section in sections() if section.page not in GENERATED]


def test_no_figure_is_without_a_source() -> None:
    assert not (found := [line for section in SECTIONS for line in problems(section)]), "\n".join(found)


@pytest.mark.parametrize("page", GENERATED)
def test_generated_pages_are_compared_with_their_files(page: str) -> None:
    file, test = GENERATED[page]
    assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8")


def test_pages_that_are_sources_are_generated() -> None:
    named = {name for section in SECTIONS for name, _ in section.sources if name.endswith(".md")}
    assert named <= GENERATED.keys()


def test_intervals_of_the_demo_are_those_of_its_counts() -> None:
    record = json.loads((ROOT / "benchmarks" / "demo.json").read_text())
    for name, accuracy in record["test_accuracy"].items():
        right = round(accuracy * record["test_images"])
        assert record["interval_95"][name] == pytest.approx(wilson(right, record["test_images"]), abs=1e-4)


DATA = {"accuracy": 0.8591, "classes": {"fear": [0.5783]}, "points": -0.14, "large": 2893}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("no figure in 48 pixels, 95% confidence intervals, `50%` of version 1.2.3", True),
        ("85.9% of the images", False),
        ("85.9% of the images\n<!-- source: data.json -->", True),
        ("85.9% of the images\n\nSource: `data.json`.", True),
        ("85.8% of the images\n<!-- source: data.json -->", False),
        ("57.8% of the images\n<!-- source: data.json#classes -->", True),
        ("85.9% of the images\n<!-- source: data.json#classes -->", False),
        ("-0.14 ± 0.58 points\n<!-- source: data.json -->", True),
        ("-0.14 ± 0.59 points\n<!-- source: data.json -->", False),
        ("86 to 99% of the images\n<!-- source: data.json -->", False),
        ("4 times as fast", False),
        ("4 times as fast\n<!-- source: script.py -->", False),
        ("4 times as fast\n<!-- source: data.json; page.md -->", True),
        ("30% of the votes\n<!-- source: settings -->", True),
        ("30% of the votes, 12% of them\n<!-- source: settings (30) -->", False),
        ("30% of the votes, 85.9% of them\n<!-- source: settings (30); data.json -->", True),
        ("| a | 0.58 |", False),
        ("| a | 0.58 |\n<!-- source: data.json -->", True),
        ("```\n85.9%\n```", True),
        ("# A\n85.9%\n# B\n<!-- source: data.json -->", False),
    ],
)
def test_a_figure_counts_only_with_a_source_that_holds_it(tmp_path: Path, text: str, right: bool) -> None:
    (tmp_path / "data.json").write_text(json.dumps(DATA))
    (tmp_path / "page.md").write_text("about 4 times")
    found = [line for section in of_page("page", text) for line in problems(section, tmp_path)]
    assert (not found) == right, found
