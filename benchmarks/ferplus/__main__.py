"""Run the experiments: `python -m benchmarks.ferplus --help` lists the commands."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.ferplus import arms as comparison
from benchmarks.ferplus import attended as attended_values
from benchmarks.ferplus import backbone_start, enroll, quality, summary, trust, trust_page
from benchmarks.ferplus.answer import answer as answer_of
from benchmarks.ferplus.audit import NAME, NAMES, audit, former_file
from benchmarks.ferplus.calibrate import calibrate
from benchmarks.ferplus.card import write_card
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.embed import embed
from benchmarks.ferplus.gate import Gate, Size, passing
from benchmarks.ferplus.gate import summary as gate_summary
from benchmarks.ferplus.partners import measure_partners
from benchmarks.ferplus.plan import GROUPS, Budget, chosen, runs
from benchmarks.ferplus.run import RESULTS, Experiment
from benchmarks.ferplus.selection import read_selection, rows, select
from benchmarks.ferplus.speed import speeds
from qcs.cli.shared import fail, interruptible, notice
from qcs.engine.training.hardware import keep_freed_memory
from qcs.errors import InputError
from qcs.files import write_text
from qcs.models import load_model
from qcs.models.weights import EMBEDDED

VIEWS = 38_400
RUNS = Path("runs/ferplus")
GATE, ARMS = RESULTS / "gate", RESULTS / "arms"
ATTENDED = RESULTS / "attention" / "attended.json"
DOCS = Path(__file__).parents[2] / "docs"

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
console = Console()

Folder = Annotated[Path, typer.Option(envvar="QCS_DATA", help="Holds ferplus.npz and muxspace/labels.csv.")]
Only = Annotated[
    list[str] | None,
    typer.Option(help=f"A condition or one of {', '.join(GROUPS)}; repeat for more.", show_default="all"),
]
Views = Annotated[int, typer.Option(help="Image views of each run, including both passes of SAM.")]
Threads = Annotated[int, typer.Option(help="Number of CPU threads.")]
Results = Annotated[Path, typer.Option(help="Folder of the results.", show_default="benchmarks/ferplus/results")]
Runs = Annotated[Path, typer.Option("--runs", help="Folder of the run folders.")]
Network = Annotated[str, typer.Option(help="Size of the networks: nano for base_nano, dcs_nano and qcs_nano.")]


@app.command()
def run(
    data: Folder,
    views: Views = VIEWS,
    only: Only = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 3,
    minutes: Annotated[float, typer.Option(help="Start no more runs after this many minutes.")] = float("inf"),
    threads: Threads = 1,
    network: Network = "nano",
    results: Results = RESULTS,
    weights: Runs = RUNS,
) -> None:
    """Run what has no result yet; a restart continues where the last one stopped."""
    torch.set_num_threads(threads)
    experiment = Experiment(Data(data), Budget(views, network), results, weights, console)
    with interruptible():
        experiment.run(runs(chosen(only or ()), seeds), minutes)


@app.command()
def partners(
    data: Folder,
    threads: Threads = 1,
    results: Results = RESULTS,
    weights: Runs = RUNS,
) -> None:
    """Measure how much the cross classifiers of finished runs depend on partner images."""
    torch.set_num_threads(threads)
    with interruptible():
        measure_partners(Data(data), results, weights, console)


@app.command()
def speed(
    data: Folder,
    only: Only = None,
    steps: Annotated[int, typer.Option(help="Training steps to time, three times.")] = 40,
    threads: Threads = 1,
    network: Network = "nano",
) -> None:
    """Print image views per second of CPU time for each condition."""
    torch.set_num_threads(threads)
    with interruptible():
        speeds(chosen(only or ()), Data(data), network, steps, console)


@app.command()
def gate(
    data: Folder,
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 3,
    threads: Threads = 1,
    results: Annotated[
        Path, typer.Option(help="Folder of the results.", show_default="benchmarks/ferplus/results/gate")
    ] = GATE,
    cache: Annotated[Path, typer.Option(help="Folder of the tokens of the frozen network, about 0.4 GB.")] = RUNS
    / "gate",
) -> None:
    """Train second classifiers on a frozen network's tokens; a restart continues; print the table at the end."""
    torch.set_num_threads(threads)
    with interruptible():
        Gate(Data(data), results, cache, Size(), console).run(seeds)
    console.print(gate_summary(results), markup=False, highlight=False, soft_wrap=True)


@app.command()
def attended(data: Folder, threads: Threads = 1) -> None:
    """Measure how much the attention of the shipped network can change its tokens."""
    torch.set_num_threads(threads)
    record = attended_values.write(Data(data), ATTENDED)
    for level in record["levels"]:
        console.print(f"largest weight {level['largest']:.1f} times a uniform one, norm ratio {level['ratio']:.3f}")


@app.command()
def arms(
    data: Folder,
    only: Annotated[
        list[str] | None,
        typer.Option(help="An arm; repeat for more.", show_default="base, sham and the forms that passed the gate"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Seeds with all training images, from 0.")] = comparison.SEEDS,
    scarce_seeds: Annotated[
        int, typer.Option(help="Seeds with 1, 5 and 25% of the training images, from 0.")
    ] = comparison.SCARCE_SEEDS,
    shard: Annotated[str, typer.Option(help="Part of the seeds for this machine, such as 1/2.")] = "1/1",
    minutes: Annotated[float, typer.Option(help="Stop after this time, with a checkpoint.")] = float("inf"),
    threads: Threads = 1,
    results: Annotated[
        Path, typer.Option(help="Folder of the results.", show_default="benchmarks/ferplus/results/arms")
    ] = ARMS,
    weights: Runs = RUNS / "arms",
) -> None:
    """Train the arms of the experiment on comparison; a restart continues where the last one stopped."""
    torch.set_num_threads(threads)
    jobs = comparison.jobs(comparison.chosen(only) if only else passing(GATE), seeds, scarce_seeds)
    size = comparison.Size()
    with interruptible():
        runner = comparison.Arms(Data(data), size, results, weights, console)
        runner.run(comparison.shard(jobs, shard), minutes)


@app.command()
def answer(
    results: Annotated[
        Path, typer.Option(help="Folder of the results.", show_default="benchmarks/ferplus/results/arms")
    ] = ARMS,
) -> None:
    """Apply the tests of the protocol to the runs that exist, and count those that are missing."""
    console.print(answer_of(results, passing(GATE)), markup=False, highlight=False, soft_wrap=True)


@app.command("tables")
def write_tables(
    results: Results = RESULTS,
    output: Annotated[Path, typer.Option(help="Folder of the pages.", show_default="docs")] = DOCS,
) -> None:
    """Write the page of results, its figure and the page of all tables from the result files."""
    summary.write(results, output)
    console.print(f"wrote {output / summary.PAGE} and {output / summary.TABLES}", highlight=False, soft_wrap=True)


@app.command("backbone")
def backbone(
    data: Folder,
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 2,
    threads: Threads = 1,
    results: Results = RESULTS,
    weights: Runs = RUNS,
) -> None:
    """Compare the pretrained start of base_dlib with a random one at equal image views; print the table."""
    torch.set_num_threads(threads)
    with interruptible():
        backbone_start.compare(Data(data), results, weights, seeds, console)
    table = backbone_start.summary(backbone_start.read(results))
    console.print(table, markup=False, highlight=False, soft_wrap=True)


@app.command("select")
def select_weights(
    name: Annotated[str, typer.Argument(help="Name of the network with its tag, such as base_dlib.ferplus.")],
    trained: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    data: Folder,
    threads: Threads = 1,
    results: Results = RESULTS,
) -> None:
    """Choose among the weights of a run by the rule in docs/experiment.md, on validation images."""
    torch.set_num_threads(threads)
    with interruptible():
        written = select(trained, name, Data(data), load_model(NAME), results)
    for row in rows(record := read_selection(results, name)):
        console.print("  ".join(row), markup=False, highlight=False, soft_wrap=True)
    console.print("chosen: " + json.dumps(record["chosen"]), markup=False, highlight=False, soft_wrap=True)
    console.print(f"wrote {written}", highlight=False, soft_wrap=True)


@app.command("embed")
def embed_weights(
    trained: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    name: Annotated[str, typer.Argument(help="Name of the network with its tag, such as qcs_small.ferplus.")],
    data: Folder,
    results: Results = RESULTS,
    share: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Weight of the run's final weights in the average with its initial weights."
        ),
    ] = 1,
) -> None:
    """Put the chosen weights of a run into the package, in half precision."""
    written = embed(trained, name, Data(data), read_selection(results, name), share=share)
    console.print(f"wrote {written}, {written.stat().st_size / 1e6:.2f} MB", highlight=False, soft_wrap=True)
    console.print("next: python -m benchmarks.ferplus calibrate, then audit", highlight=False, soft_wrap=True)


@app.command("calibrate")
def calibrate_weights(
    data: Folder,
    threads: Threads = 1,
    results: Results = RESULTS,
    output: Annotated[Path, typer.Option(help="Folder of the pages.", show_default="docs")] = DOCS,
) -> None:
    """Fit the calibration of the weights in the package on validation images, and write it into their file."""
    torch.set_num_threads(threads)
    with interruptible():
        written = calibrate(Data(data), results)
    console.print(f"wrote {written}, {load_model(written).calibration!r}", highlight=False, soft_wrap=True)
    console.print(f"wrote {write_card(EMBEDDED, results)}", highlight=False, soft_wrap=True)
    write_tables(results, output)


@app.command("trust")
def measure_trust(
    data: Folder,
    threads: Threads = 1,
    results: Results = RESULTS,
    cache: Annotated[Path, typer.Option(help="Folder of the cached logits of the weights.")] = RUNS / "outputs",
    output: Annotated[Path, typer.Option(help="Folder of the page.", show_default="docs")] = DOCS,
) -> None:
    """Measure calibration, coverage, abstention and votes of the weights in the package; write record and page."""
    torch.set_num_threads(threads)
    with interruptible():
        written = trust.measure(Data(data), cache, results)
    _write_trust_page(written, results, output)


@app.command("enroll")
def measure_enrollment(
    data: Folder,
    threads: Threads = 1,
    results: Results = RESULTS,
    output: Annotated[Path, typer.Option(help="Folder of the page.", show_default="docs")] = DOCS,
) -> None:
    """Measure whether enrolled faces of a person help the weights in the package; write record and page."""
    torch.set_num_threads(threads)
    with interruptible():
        written = enroll.measure(Data(data), results)
    _write_trust_page(written, results, output)


@app.command("quality")
def measure_quality(
    data: Folder,
    threads: Threads = 1,
    results: Results = RESULTS,
    output: Annotated[Path, typer.Option(help="Folder of the page.", show_default="docs")] = DOCS,
) -> None:
    """Measure small and blurred validation images with the weights in the package; write record and page."""
    torch.set_num_threads(threads)
    with interruptible():
        written = quality.measure(Data(data), results)
    _write_trust_page(written, results, output)


def _write_trust_page(written: Path, results: Path, output: Path) -> None:
    text = trust_page.page(*trust.records(results))
    page = write_text(output / trust_page.PAGE, text)
    console.print(f"wrote {written} and {page}", highlight=False, soft_wrap=True)


@app.command("audit")
def audit_weights(
    data: Folder,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Weights in the package.", show_default="all")
    ] = None,
    former: Annotated[
        Path | None,
        typer.Option(
            help="File of the weights before, to compare with.",
            show_default="qcs_small, and for it its predecessor from the history of git",
        ),
    ] = None,
    threads: Threads = 1,
    results: Results = RESULTS,
    output: Annotated[Path, typer.Option(help="Folder of the pages.", show_default="docs")] = DOCS,
) -> None:
    """Recompute every figure of the weights in the package; write the record, the model card and the pages."""
    torch.set_num_threads(threads)
    images = Data(data)
    for name in names or NAMES:
        with interruptible(), tempfile.TemporaryDirectory() as folder:
            before = former or former_file(name, Path(folder))
            written = audit(images, results, "benchmarks.ferplus audit", before, name)
        console.print(f"wrote {written}", highlight=False, soft_wrap=True)
    console.print(f"wrote {write_card(EMBEDDED, results)}", highlight=False, soft_wrap=True)
    write_tables(results, output)


def main() -> None:
    """Run the command line; bad input prints one line and exits with a non-zero status."""
    warnings.showwarning = lambda message, *place: notice("yellow", "warning", str(message))
    keep_freed_memory()  # as `qcs train` on a CPU
    try:
        app(prog_name="python -m benchmarks.ferplus")
    except (InputError, OSError) as error:
        fail(str(error), 1)


if __name__ == "__main__":
    main()
