"""The command `qcs crossval`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qcs.cli.shared import console, interruptible, notice, option, say
from qcs.errors import InputError
from qcs.imports import require

if TYPE_CHECKING:
    from qcs.crossval import Plan
    from qcs.crossval.bench import Outcome

MODULES = ("accelerate", "jinja2", "matplotlib", "scipy", "sklearn", "tensorboard", "torchmetrics")


def crossval(
    plan: Annotated[str | None, typer.Argument(metavar="[PLAN]", help="Plan to run: a .toml or .json file.")] = None,
    output: Annotated[str, typer.Option(help="Folder of the results; a bench in it goes on.")] = "crossval",
    data: Annotated[
        list[str] | None, option("Data set, as PATH or NAME=PATH, instead of a plan; can be repeated.", "the plan's")
    ] = None,
    model: Annotated[
        list[str] | None, option("Network, see 'qcs models', instead of a plan; can be repeated.", "the plan's")
    ] = None,
    protocol: Annotated[
        list[str] | None,
        option("How to split: honest, published or a variant of it; can be repeated.", "the plan's, else honest"),
    ] = None,
    repeats: Annotated[int | None, option("Repeats of each network on each data set.", "the plan's, else 10")] = None,
    set: Annotated[
        list[str] | None, option("Setting of all trainings as NAME=VALUE, as epochs=20; can be repeated.", "none")
    ] = None,
    shard: Annotated[str, typer.Option(help="Part of the cells to run, as 3/8: the third of eight.")] = "1/1",
    tables: Annotated[
        bool,
        typer.Option(
            "--tables", help="Run nothing: write the tables of the results in the folder.", show_default="off"
        ),
    ] = False,
    keep_weights: Annotated[
        bool,
        typer.Option(
            "--keep-weights", help="Keep the run folders of finished cells, with their weights.", show_default="off"
        ),
    ] = False,
) -> None:
    """Compare networks by repeated runs on data sets; write a result file for each, and tables.

    The command can be killed anywhere; started again, it goes on. Several processes may work in one folder.
    """
    require(*MODULES, extra="crossval")
    from qcs.cli.train import reuse_memory_on_cpu
    from qcs.cli.training_display import TrainingDisplay
    from qcs.crossval import Bench

    part = _shard(shard)
    outcome: Outcome | None = None
    if not tables:
        chosen = _plan(plan, Path(output), data, model, protocol, repeats, set)
        reuse_memory_on_cpu()
        with interruptible(), TrainingDisplay(console) as progress:
            try:
                outcome = Bench(chosen, output, keep_weights=keep_weights, progress=progress).run(part)
            except KeyboardInterrupt:
                progress.say(f"stopped; results and the last checkpoint are in {output}: the same command goes on")
                raise
        _report(outcome)
    _write_tables(Path(output))
    if outcome is not None and outcome.refused:
        raise typer.Exit(1)


def _plan(
    file: str | None,
    folder: Path,
    data: list[str] | None,
    models: list[str] | None,
    protocols: list[str] | None,
    repeats: int | None,
    settings: list[str] | None,
) -> Plan:
    """The plan of a file, of the folder, or of the options; options change those of a file."""
    from qcs.crossval import Plan
    from qcs.crossval.results import read_plan

    if file is not None and (data or models):
        raise typer.BadParameter("a plan names its data sets and networks; leave out --data and --model")
    if file is not None:
        record = Plan.read(file).to_dict()
    elif data or models:
        record = {"data": _named(data or [], "path"), "networks": _named(models or [], "model")}
    elif (before := read_plan(folder)) is not None:
        record = before.to_dict()
    else:
        raise typer.BadParameter("nothing to run: give a plan, or --data and --model, or a folder with a bench")
    changes: dict[str, Any] = {"protocols": protocols, "repeats": repeats}
    record |= {name: value for name, value in changes.items() if value is not None}
    if settings:
        from qcs.cli.train import named_value

        record["settings"] = {**record.get("settings", {}), **dict(named_value(each, "--set") for each in settings)}
    return Plan.from_dict(record)


def _named(given: list[str], key: str) -> dict[str, dict[str, str]]:
    """Tables of a plan from options such as NAME=PATH; without a name, that of the file or network."""
    found: dict[str, dict[str, str]] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            name, value = re.sub(r"[^\w.]", "_", Path(each).stem if key == "path" else each), each
        if name in found:
            raise InputError(f"the name {name} occurs twice; give names, as first={value}")
        found[name] = {key: value}
    return found


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None:
        raise InputError(f"--shard is {text}; expected a number and how many there are, as 3/8")
    return int(found[1]), int(found[2])


def _report(outcome: Outcome) -> None:
    diverged = sum(result.failed for result in outcome.finished)
    say(
        f"{len(outcome.finished)} cells run ({diverged} diverged), {len(outcome.before)} done before, "
        f"{len(outcome.elsewhere)} left to other processes"
    )
    for message, cells in outcome.refused.items():
        notice("red", "error", f"{len(cells)} cells could not run, first {cells[0]}: {message}")


def _write_tables(folder: Path) -> None:
    from qcs.crossval import read_results, write_tables
    from qcs.report import write_comparison

    results = read_results(folder)
    for path in (*write_tables(results, folder), write_comparison(results, folder / "crossval.html")):
        say(f"wrote {path}")
    console.print((folder / "crossval.md").read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True)
