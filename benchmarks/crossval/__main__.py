"""Compare four networks on FERPlus by both protocols: `python -m benchmarks.crossval --data FOLDER`.

Runs `qcs crossval` on the plan beside this file and records in the log of looks that test images were measured. Killed
anywhere, it goes on when started again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.ferplus.looks import look
from benchmarks.ferplus.run import RESULTS as LOG_FOLDER
from qcs.cli.crossval import crossval
from qcs.crossval import Plan
from qcs.files import write_text

HERE = Path(__file__).parent
PLAN = HERE / "plan.toml"
OUTPUT = HERE / "results"
PAGES = ("crossval.md", "crossval.json")


def main(
    data: Annotated[Path, typer.Option(help="Folder with ferplus.npz.")],
    work: Annotated[Path, typer.Option(help="Folder of the bench, with its unfinished runs.")] = Path("runs/crossval"),
    shard: Annotated[str, typer.Option(help="Part of the cells to run, as 3/8.")] = "1/1",
) -> None:
    """Run the bench in the folder `work`, from the results beside this file on; copy results and tables back."""
    plan = Plan.read(PLAN).to_dict()
    for name, source in plan["data"].items():
        source["path"] = str(data / f"{name}.npz")
    placed = write_text(work / "placed.json", json.dumps(plan))
    _copy(OUTPUT, work / "results")
    what = f"{len(list(Plan.from_dict(plan).cells()))} cells of benchmarks/crossval/plan.toml, those without a result"
    with look(LOG_FOLDER, "benchmarks.crossval", None, what) as seen:
        crossval(str(placed), output=str(work), shard=shard)
        found = json.loads((work / "crossval.json").read_text(encoding="utf-8"))
        seen |= {f"{each['protocol']} {each['network']}": each["accuracy"]["mean"] for each in found["networks"]}
    _copy(work / "results", OUTPUT)
    for name in PAGES:
        write_text(HERE / name, (work / name).read_text(encoding="utf-8"))


def _copy(source: Path, target: Path) -> None:
    """Copy the result files that the target lacks."""
    for path in sorted(source.glob("*.json")):
        if not (target / path.name).exists():
            write_text(target / path.name, path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
