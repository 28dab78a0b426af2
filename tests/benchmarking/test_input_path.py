"""The benchmark of the input path compares ways that give alike images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import input_path


@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_both_ways_load_batches_of_one_shape_and_like_values(kind: str, tmp_path: Path) -> None:
    if kind == "arrays":
        count, loads = input_path.of_arrays(48, 24, 26)
    else:
        count, loads = input_path.of_files(input_path.draw_photos(tmp_path, 48, 40), 24, 26)
    ours, theirs = loads["qcs"](range(count)), loads["torchvision"](range(count))
    assert ours.shape == theirs.shape == (48, 1 if kind == "arrays" else 3, 24, 24)
    torch.testing.assert_close(ours.mean(), theirs.mean(), rtol=0, atol=0.05)
    torch.testing.assert_close(ours.std(), theirs.std(), rtol=0.05, atol=0)


def test_a_row_holds_rates_and_the_median_ratio() -> None:
    rates = {"qcs": [200.0, 100.0, 300.0], "torchvision": [100.0, 100.0, 100.0]}
    assert input_path.row("x", rates) == "| x | 200 | 100 | 2.00 (1.00 to 3.00) |"


def test_every_way_is_timed_in_every_round() -> None:
    rates = input_path.measure(*input_path.of_arrays(50, 12, 13), seconds=0)
    assert [len(rates[way]) for way in ("qcs", "torchvision")] == [5, 5]
