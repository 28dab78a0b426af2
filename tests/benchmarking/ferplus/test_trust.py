"""The record on the reliability of the answers, and the page that is made from it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.ferplus import trust, trust_page
from benchmarks.ferplus.run import RESULTS
from qcs.models import load_model

DOCS = RESULTS.parents[2] / "docs"
RECORD: dict[str, Any] = trust.read_record(RESULTS)


def test_the_committed_page_is_of_the_committed_record() -> None:
    text = (DOCS / trust_page.PAGE).read_text(encoding="utf-8")
    assert text == trust_page.page(*trust.records(RESULTS)), "run: python -m benchmarks.ferplus trust"


def test_the_record_is_of_the_calibration_in_the_package() -> None:
    stated = load_model("qcs_small").calibration
    assert stated is not None
    assert stated.label.scale == pytest.approx(RECORD["calibration"]["label"]["scale"])


def test_calibration_lowers_what_it_minimizes_on_the_images_of_the_fit() -> None:
    scores = RECORD["scores"]["validation"]
    assert scores["vector"]["nll"] <= scores["label"]["nll"] < scores["uncalibrated"]["nll"]
