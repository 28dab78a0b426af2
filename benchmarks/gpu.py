"""First run on a GPU: check the operators on it, measure every shape, write the page.

`python -m benchmarks.gpu --json benchmarks/gpu.json --output docs/gpu.md`

Correctness comes first: the rule of `tests/ops/comparing.py`, with tokens on the device, for every backend that runs
there. If a case breaks the rule, the page says so and nothing is timed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.conftest import SHAPES
from qcs.errors import InputError
from qcs.ops import choose

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from ops.comparing import errors, weights  # type: ignore[import-not-found] # noqa: E402 - the rule of the tests
from ops.hard_cases import HARD_CASES  # type: ignore[import-not-found] # noqa: E402 - the tests are no package

Draw = Callable[[int], list[Tensor]]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LENGTHS = (20, 49, 100)
"""Tokens per image: the kernels for one tile, the published size, and those for many tiles."""

FLOORS = {torch.float32: 2e-5}
"""What the rule allows beyond twice the error of the definition, as a part of the largest value.

Half a unit in the last place for the other dtypes.
"""


class Check(NamedTuple):
    """Largest error of a backend in one case, as a share of what the rule allows."""

    backend: str
    dtype: str
    tokens: str
    length: int
    share: float

    @property
    def passes(self) -> bool:
        return self.share <= 1  # false for NaN


def ordinary(n: int) -> list[Tensor]:
    """Draw tokens of four images of the published width."""
    return [torch.randn(2, n, 768) for _ in range(4)]


def backends(device: str) -> list[ModuleType]:
    """Return the backends that run on the device."""
    found = [choose("analytic")]
    try:
        found.append(choose("triton", torch.empty(1, 1, 1, device=device)))
    except InputError as error:
        print(error)
    return found


def checks(
    device: str,
    cases: Sequence[Draw] = (ordinary, *HARD_CASES),
    dtypes: Sequence[torch.dtype] = DTYPES,
    lengths: Sequence[int] = LENGTHS,
) -> Iterator[Check]:
    """Yield one check for every backend, dtype, kind of tokens and length."""
    for backend in backends(device):
        for dtype in dtypes:
            for case in cases:
                for length in lengths:
                    torch.manual_seed(0)
                    tokens = [x.to(device, dtype) for x in case(length)]
                    floor = FLOORS.get(dtype, torch.finfo(dtype).eps / 2)
                    shares = [
                        error / (2 * usual + floor * size) if error else 0.0
                        for error, usual, size in errors(backend, weights("sd", "batch"), tokens)
                    ]
                    worst = max(shares, key=lambda share: (share != share, share))  # NaN is the worst
                    name = backend.__name__.rpartition(".")[2]
                    yield Check(name, str(dtype)[6:], case.__name__.replace("_", " "), length, worst)


def page(found: Sequence[Check], measured: str) -> str:
    """Return the page in Markdown: checks that break the rule or the largest shares, then the measurements."""
    broken = [check for check in found if not check.passes]
    shown = broken or sorted(found, key=lambda check: -check.share)[:5]
    verdict = (
        f"**{len(broken)} of {len(found)} cases break the rule; nothing was timed.**"
        if broken
        else f"All {len(found)} cases pass the rule of [exactness](kernels.md#exactness). The largest errors:"
    )
    rows = [f"| {c.backend} | {c.dtype} | {c.tokens} | {c.length} | {c.share:.2f} |" for c in shown]
    return "\n".join(
        [
            "# On a GPU",
            "",
            f"Made by `python -m benchmarks.gpu` on {date.today():%d %B %Y}.",
            "",
            "## Correctness",
            "",
            verdict,
            "",
            "| backend | precision | tokens | N | error, share of what is allowed |",
            "|---|---|---|---|---|",
            *rows,
            "",
            *([] if broken else ["## Time and memory", "", measured, ""]),
        ]
    )


def main() -> None:
    """Check, measure and write the page."""
    parser = argparse.ArgumentParser(description="Check and measure the operators on an NVIDIA GPU")
    parser.add_argument("--json", type=Path, required=True, help="result file to write")
    parser.add_argument("--output", type=Path, required=True, help="page to write, .md")
    parser.add_argument("--shapes", default=SHAPES, help="tokens BxNxC, separated by spaces (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="time per shape and pass (default: %(default)s)")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("error: no GPU that PyTorch can use was found; run this on a machine with an NVIDIA GPU")
    found = list(checks("cuda"))
    measured = ""
    if all(check.passes for check in found):
        command = [sys.executable, "-m", "pytest", "benchmarks", f"--benchmark-json={arguments.json.resolve()}"]
        command += ["--shapes", arguments.shapes, "--seconds", str(arguments.seconds)]
        subprocess.run(command, cwd=ROOT, check=True)
        provenance, results = report.read(arguments.json)
        measured = f"{provenance}\n\n{report.table(results)}\n\n<!-- source: {arguments.json}; benchmarks/report.py -->"
    arguments.output.write_text(page(found, measured))
    print(f"wrote {arguments.output}")
    if not measured:
        raise SystemExit("error: some cases break the rule of exactness; see the page")


if __name__ == "__main__":
    main()
