"""The benchmarks compare like with like, and report what they measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import budget, contenders, dispatches, gpu, measure, memory, report
from benchmarks.contenders import Case, run_of
from qcs.errors import InputError

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PEERS = ("cdist", "keops", "analytic", "triton")  # compiling the others takes longer than all tests here


def ready(name: str, case: Case) -> contenders.Run:
    run = run_of(name, case)
    if isinstance(run, str):
        pytest.skip(f"{name}: {run}")
    return run


def assert_same(run: contenders.Run, reference: contenders.Run) -> None:
    found: Any = run()
    expected: Any = reference()
    for tensor, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(tensor, wanted, rtol=1e-3, atol=1e-5 * float(wanted.detach().abs().max()))


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", PEERS)
def test_contenders_compute_the_reference(name: str, backward: bool) -> None:
    case = Case(2, 30, 6, backward, DEVICE)
    assert_same(ready(name, case), ready("reference", case))


@pytest.mark.parametrize("backward", [False, True])
def test_reductions_over_lazy_distances_compute_the_reference(backward: bool) -> None:
    def dense(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
        return (row.unsqueeze(2) - column.unsqueeze(1)).norm(dim=-1, keepdim=True)

    case = Case(2, 7, 6, backward, "cpu")
    run = contenders.pass_of(contenders.quadruplet(contenders.reductions(dense)))(case)
    assert_same(run, ready("reference", case))


@pytest.mark.parametrize(("backward", "products"), [(False, 1), (True, 3)])
def test_the_yardstick_is_one_product_forward_and_two_more_backward(backward: bool, products: int) -> None:
    run = ready("products", Case(2, 5, 3, backward, "cpu"))
    with FlopCounterMode(display=False) as flops:
        run()
    assert flops.get_total_flops() == products * 2 * (2 * 10 * 10 * 3)


def test_what_exceeds_the_memory_limit_is_not_run_and_says_so() -> None:
    large = Case(1, 12544, 64, True, "cpu")
    assert run_of("reference", large) == "needs about 12 GiB, the limit is 10 GiB"
    assert callable(run_of("analytic", large))


class SteppingClock:
    """Runs take as many seconds as they say."""

    def __call__(self, run: contenders.Run) -> float:
        return float(str(run()))


def test_every_round_times_each_contender_once_and_ours_last() -> None:
    order: list[str] = []

    def run(name: str, seconds: float) -> contenders.Run:
        def recorded() -> float:
            order.append(name)
            return seconds

        return recorded

    runs = {"first": run("first", 1.0), "ours": run("ours", 2.0), "second": run("second", 3.0)}
    rounds = measure.Rounds(runs, "ours", SteppingClock())
    order.clear()
    for _ in range(2):
        rounds.time_the_others()
        rounds.time_ours()
    assert rounds.seconds == {"first": [1.0, 1.0], "ours": [2.0, 2.0], "second": [3.0, 3.0]}
    assert order == ["first", "second", "ours", "second", "first", "ours"]
    assert [rounds.fitting(seconds) for seconds in (1, 60, 1e9)] == [5, 10, 200]


def test_a_contender_beyond_patience_is_recorded_and_left_out() -> None:
    rounds = measure.Rounds({"slow": lambda: 2 * measure.PATIENCE, "ours": lambda: 1.0}, "ours", SteppingClock())
    rounds.time_the_others()
    rounds.time_ours()
    assert rounds.seconds == {"ours": [1.0]}
    assert rounds.too_slow == {"slow": "one run took 30 s"}


def test_peak_memory_is_that_of_the_pass_alone() -> None:
    if not memory.CLEAR.exists():
        pytest.skip("peak memory is read from /proc, which this system has not")
    case = Case(1, 1024, 4, False, "cpu")
    peak = memory.peak_extra("products", case, ready("products", case))
    assert peak is not None
    assert 4.0 <= peak / (1024 * 1024 * 4) <= 5.0  # one matrix of 2N x 2N


def test_operators_inside_the_librarys_own_are_counted() -> None:
    case = Case(2, 5, 3, True, "cpu")
    for count in dispatches.dispatches("reference", case):
        assert count.outside > 0 and count.inside == 0
    for count in dispatches.dispatches("analytic", case):
        assert count.outside > 0 and count.inside > 0


def result(tokens: int, backward: bool, analytic: float, roofline: float | None) -> dict[str, Any]:
    def found(median: float) -> dict[str, Any]:
        quartiles = [0.9 * median, 1.2 * median]
        ratios = {"per_products": median / 0.001, "per_reference": median / 0.004}
        return {"median": median, "quartiles": quartiles, **ratios, "peak_bytes": 3 * 2**20}

    return {
        "case": Case(2, tokens, 8, backward, "cpu")._asdict(),
        "rounds": 5,
        "roofline": roofline,
        "not_run": {"triton": "needs an NVIDIA GPU"},
        "contenders": {"products": found(0.001), "analytic": found(analytic), "reference, compiled": found(0.004)},
    }


def write(path: Path, results: list[dict[str, Any]]) -> Path:
    recorded = {
        "machine_info": {
            "gpu": None,
            "cpu": {"brand_raw": "Abacus 9"},
            "torch_threads": 1,
            "python_version": "3.12.0",
            "packages": {"torch": "2.9", "pykeops": None},
            "environment": {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": None},
        },
        "commit_info": {"id": "0123456789abcdef", "dirty": True},
        "datetime": "2026-01-02T03:04:05",
        "benchmarks": [{"extra_info": extra} for extra in results],
    }
    path.write_text(json.dumps(recorded))
    return path


def test_the_table_shows_losses_as_it_shows_wins(tmp_path: Path) -> None:
    where, results = report.read(
        write(tmp_path / "b.json", [result(9, False, 0.002, None), result(9, True, 8.0, None)])
    )
    assert where == (
        "Abacus 9; 1 CPU threads; Python 3.12.0; torch 2.9; OMP_NUM_THREADS=1; "
        "commit 0123456789 with local changes; 2026-01-02."
    )
    rows = report.table(results).splitlines()
    assert len(rows) == 2 + 2 * 4
    assert rows[3] == "|  |  | analytic | 2 | 1.8 to 2.4 | 2.00 x | 0.50 x | 3 MiB |"
    assert rows[6] == "| (2, 9, 8) | forward+backward | products | 1 | 0.9 to 1.2 | 1.00 x | 0.25 x | 3 MiB |"
    assert rows[8] == "|  |  | analytic | 8,000 | 7,200 to 9,600 | 8000.00 x | 2000.00 x | 3 MiB |"
    assert rows[9] == "|  |  | triton | not run: needs an NVIDIA GPU |  |  |  |  |"


def test_the_roofline_stands_beside_each_figure_where_there_is_one() -> None:
    rows = report.table([result(9, False, 0.002, 0.0005)]).splitlines()
    assert rows[0].endswith("| roofline, ms |")
    assert all(row.endswith("| 0.5 |") for row in rows[2:5])


def test_the_picture_has_a_panel_per_pass_and_a_bar_per_contender(tmp_path: Path, monkeypatch: Any) -> None:
    results = [result(tokens, backward, 0.002, None) for tokens in (9, 30) for backward in (False, True)]
    panels = report.picture(results).axes
    assert [panel.get_title() for panel in panels] == ["forward", "forward+backward"]
    assert [len(panel.patches) for panel in panels] == [2 * 3, 2 * 3]
    path, output = write(tmp_path / "b.json", results), tmp_path / "new" / "b.png"
    monkeypatch.setattr(sys, "argv", ["report.py", str(path), "--output", str(output)])
    report.main()
    assert output.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", ["", "[]", '{"benchmarks": [{"extra_info": {}}]}'])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"other\.json is not a result of these benchmarks.*make one with"):
        report.read(path)


@pytest.mark.skipif(not memory.CLEAR.exists(), reason="peak memory is read from /proc")
def test_a_pass_beyond_its_budget_is_measured_beside_the_products() -> None:
    case = Case(1, 200, 4, True, "cpu")
    found = budget.measure(case, budget=0)
    assert (found["path"], found["distances_bytes"]) == ("recomputed", 4 * 4 * 200**2)
    assert found["cpu_seconds"] > found["products_cpu_seconds"] > 0
    assert budget.measure(case, budget=2**30)["path"] == "kept"


def test_the_page_of_a_gpu_has_checks_and_measurements() -> None:
    found = list(gpu.checks(DEVICE, cases=[gpu.HARD_CASES[0]], dtypes=[torch.float32], lengths=[9]))
    assert all(check.passes and check.share > 0 for check in found)
    text = gpu.page(found, "| the table |")
    assert f"All {len(found)} cases pass" in text and "| analytic | float32 | near duplicates | 9 |" in text
    assert "| the table |" in text


@pytest.mark.parametrize("share", [1.01, float("nan")])
def test_a_check_that_breaks_the_rule_is_shown_and_nothing_is_timed(share: float) -> None:
    broken = gpu.Check("triton", "float32", "large", 49, share)
    text = gpu.page([broken, broken._replace(share=0.5)], "| the table |")
    assert "1 of 2 cases break the rule" in text and "the table" not in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--json", str(tmp_path / "a.json"), "--output", str(tmp_path / "a.md")])
    with pytest.raises(SystemExit, match="error: no GPU that PyTorch can use was found"):
        gpu.main()


@pytest.mark.parametrize("backward", [False, True])
def test_dot_products_attend_in_both_directions_of_four_pairs(backward: bool) -> None:
    run: Any = ready("dot products", Case(2, 5, 3, backward, "cpu"))
    assert [tuple(x.shape) for x in run()] == [(2, 5, 3)] * (4 if backward else 8)
