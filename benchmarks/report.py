"""Print the results of a benchmark run as a Markdown table and plot them, losses and wins alike.

`python benchmarks/report.py benchmarks.json --output docs/images/benchmarks.png`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.container import BarContainer

from qcs.errors import InputError
from qcs.visualize.figure import LABEL, PALETTE, SMALL, TITLE, blank, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Result = dict[str, Any]
"""The `extra_info` of one benchmark."""

COLORS = dict(
    zip(("analytic", "reference", "triton", "cdist", "keops"), PALETTE, strict=False),
    **{"products": "#999999", "dot products": "#cccccc"},
)
HEADER = (
    "tokens (B, N, C)",
    "pass",
    "contender",
    "median, ms",
    "quartiles",
    "vs products",
    "vs reference",
    "peak memory",
)


def read(path: Path) -> tuple[str, list[Result]]:
    """Return the provenance of a result file in one line, and its results.

    Raises:
        InputError: If the file is not a result of these benchmarks.
    """
    try:
        recorded = json.loads(path.read_text())
        results = [benchmark["extra_info"] for benchmark in recorded["benchmarks"]]
        if not all("contenders" in result for result in results):
            raise KeyError("contenders")
        return _provenance(recorded), results
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is not a result of these benchmarks ({error!r}): "
            f"make one with `pytest benchmarks --benchmark-json={path}`"
        ) from error


def _provenance(recorded: dict[str, Any]) -> str:
    machine, commit = recorded["machine_info"], recorded["commit_info"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items() if number)
    settings = [f"{name}={value}" for name, value in machine["environment"].items() if value is not None]
    changed = " with local changes" if commit.get("dirty") else ""
    parts = [
        machine["gpu"] or machine["cpu"]["brand_raw"],
        f"{machine['torch_threads']} CPU threads",
        f"Python {machine['python_version']}",
        packages,
        *settings,
        f"commit {str(commit.get('id'))[:10]}{changed}",
        recorded["datetime"][:10],
    ]
    return "; ".join(parts) + "."


def table(results: list[Result]) -> str:
    """Return a Markdown table: the contenders of each case from fastest to slowest, then those not run."""
    rooflines = any(result["roofline"] for result in results)
    header = [*HEADER, *(["roofline, ms"] if rooflines else [])]
    rows = [header, ["---"] * len(header)]
    for result in results:
        case = [_shape(result), _direction(result)]
        bound = [_milliseconds(result["roofline"])] if rooflines else []
        for name, found in sorted(result["contenders"].items(), key=lambda item: item[1]["median"]):
            times = [_milliseconds(found["median"]), " to ".join(map(_milliseconds, found["quartiles"]))]
            beside = [_ratio(found["per_products"]), _ratio(found["per_reference"]), _memory(found["peak_bytes"])]
            rows.append([*case, name, *times, *beside, *bound])
            case = ["", ""]
        for name, reason in result["not_run"].items():
            rows.append([*case, name, f"not run: {reason}", *[""] * (len(header) - 4)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def picture(results: list[Result]) -> Figure:
    """Plot median times, a panel per pass, a group of bars per shape; whiskers are quartiles, hatching is compiled."""
    directions = list(dict.fromkeys(map(_direction, results)))
    figure = blank(9, 3 * len(directions))
    for panel, direction in zip(figure.subplots(len(directions), squeeze=False)[:, 0], directions, strict=True):
        _draw(panel, [result for result in results if _direction(result) == direction])
        panel.set_title(direction, fontsize=TITLE)
    bars = {
        str(bar.get_label()): bar for panel in figure.axes for bar in panel.containers if isinstance(bar, BarContainer)
    }
    figure.legend(handles=bars.values(), loc="outside lower center", ncols=4, fontsize=SMALL, frameon=False)
    return figure


def _draw(panel: Axes, results: list[Result]) -> None:
    names = list(dict.fromkeys(name for result in results for name in result["contenders"]))
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        groups = [(group, r["contenders"][name]) for group, r in enumerate(results) if name in r["contenders"]]
        family, _, compiled = name.partition(", ")
        panel.bar(
            [group + (place - (len(names) - 1) / 2) * width for group, _ in groups],
            [1000 * found["median"] for _, found in groups],
            width,
            yerr=[
                [1000 * (found["median"] - found["quartiles"][0]) for _, found in groups],
                [1000 * (found["quartiles"][1] - found["median"]) for _, found in groups],
            ],
            color=COLORS[family],
            hatch="////" if compiled else None,
            edgecolor="white",
            error_kw={"linewidth": 0.8},
            label=name,
        )
    panel.set_yscale("log")
    panel.set_ylabel("median, ms", fontsize=LABEL)
    panel.set_xticks(range(len(results)), [_shape(result) for result in results], fontsize=SMALL)
    panel.tick_params(axis="y", labelsize=SMALL)
    panel.spines[["top", "right"]].set_visible(False)


def _shape(result: Result) -> str:
    case = result["case"]
    return f"({case['batch']}, {case['tokens']}, {case['channels']})"


def _direction(result: Result) -> str:
    return "forward+backward" if result["case"]["backward"] else "forward"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.3g}" if seconds < 0.999 else f"{1000 * seconds:,.0f}"


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"


def _memory(size: int | None) -> str:
    return "-" if size is None else f"{size / 2**20:,.0f} MiB"


def main() -> None:
    """Print the table and write the plot."""
    parser = argparse.ArgumentParser(description="Table and plot of a benchmark run")
    parser.add_argument("results", type=Path, help="result file of --benchmark-json")
    parser.add_argument("--output", type=Path, required=True, help="plot to write, .png or .svg")
    arguments = parser.parse_args()
    try:
        provenance, results = read(arguments.results)
        print(f"{provenance}\n\n{table(results)}")
        save(picture(results), arguments.output)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
