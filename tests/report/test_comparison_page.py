"""The HTML page on a bench: complete, self-contained, names are data."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored import store

from qcs.crossval import read_results
from qcs.errors import InputError
from qcs.report import write_comparison


def test_the_page_has_the_tables_the_tests_and_the_failures(tmp_path: Path) -> None:
    folder = store(tmp_path, "honest", {"good": [0.8, 0.82, 0.84], "<b>bad": [0.7, None, 0.75]})
    text = write_comparison(read_results(folder), folder / "crossval.html").read_text(encoding="utf-8")
    for part in (
        "82.0 ± 2.0",
        "72.5 ± 3.5 †",
        "2 of 3, failed: 1",
        "the loss became nan in step 3",
        "&lt;b&gt;bad − good",
    ):
        assert part in text
    assert "<b>bad" not in text and "http" not in text.replace("http-equiv", "")
    assert "60 train, 20 validation, 20 test" in text


def test_the_output_is_html(tmp_path: Path) -> None:
    folder = store(tmp_path, "honest", {"good": [0.8]})
    with pytest.raises(InputError, match=r"its name must end in \.html"):
        write_comparison(read_results(folder), folder / "crossval.txt")
