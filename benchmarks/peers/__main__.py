"""Measure libraries head to head: `python -m benchmarks.peers --data FOLDER`; FOLDER as for `benchmarks.ferplus`.

Each library is installed into an environment of its own and gets the same grayscale face crops, one at a time, on one
thread. A library that cannot be installed or fails costs no other its results.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.looks import look
from benchmarks.ferplus.run import RESULTS
from benchmarks.peers.comparison import compared
from benchmarks.peers.environment import Answer, classify, installed, python_of
from benchmarks.peers.libraries import LIBRARIES, Library, library
from qcs.data import LabeledImages
from qcs.errors import InputError
from qcs.files import write_text

OUTPUT = Path(__file__).parent / "results.json"
SIDE = 48  # to which images of all sets are brought, in pixels


def main() -> None:
    """Install, measure, write the result file and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder with ferplus.npz and muxspace/labels.csv")
    parser.add_argument("--only", nargs="*", default=[each.name for each in LIBRARIES], help="libraries to measure")
    parser.add_argument("--environments", default="runs/peers", help="folder of the virtual environments")
    parser.add_argument("--output", default=str(OUTPUT), help="file to write")
    options = parser.parse_args()
    chosen = [library(name) for name in options.only]
    found = measure(chosen, Data(options.data), Path(options.environments).absolute())
    print(table(found))
    print(write_text(Path(options.output), json.dumps(found, indent=1) + "\n"))


def measure(libraries: list[Library], data: Data, environments: Path) -> dict[str, Any]:
    """Return version, size, speed and figures of every library; for one that fails, the reason."""
    sets = {"FERPlus test": data.official["test"], "muxspace": data.muxspace}
    answers: dict[str, dict[str, Answer]] = {name: {} for name in sets}
    about: dict[str, dict[str, Any]] = {}
    with look(RESULTS, "benchmarks.peers", None, f"test and muxspace: {', '.join(x.name for x in libraries)}") as seen:
        for each in libraries:
            try:
                about[each.name], own = _answers(each, sets, environments)
            except InputError as error:
                about[each.name] = {"failed": str(error)}
                continue
            for name, answer in own.items():
                answers[name][each.name] = answer
        found = {name: compared(answers[name], images, parts_of(name, data)) for name, images in sets.items()}
        seen.update({name: {lib: f["accuracy"][0] for lib, f in own["all"].items()} for name, own in found.items()})
    machine = {"processor": platform.machine(), "load_average": os.getloadavg()[1]}
    return {"libraries": about, "machine": machine, "data": dict(data.hashes("votes")), "sets": found}


def parts_of(name: str, data: Data) -> dict[str, npt.NDArray[Any]]:
    """Return which images of a set are in each of its parts: without copies, or by source."""
    if name == "FERPlus test":
        return {"all": np.ones(len(data.official["test"]), bool), "without copies": data.has_no_copy}
    sources = np.array([data.sources[each] for each in data.muxspace.names.tolist()])
    return {"all": np.ones(len(sources), bool), **{str(each): sources == each for each in np.unique(sources) if each}}


def pixels_of(images: LabeledImages) -> npt.NDArray[np.uint8]:
    """Return images as grayscale (n, 48, 48), uint8: the same pixels for every library."""
    small = [images.image(row).convert("L").resize((SIDE, SIDE)) for row in range(len(images))]
    return np.stack([np.asarray(each) for each in small])


def table(found: dict[str, Any]) -> str:
    """Return the comparison as a table in Markdown."""
    parts = [(name, part) for name, own in found["sets"].items() for part in own]
    header = ["library", "installed, MB", *(f"{name}, {part}" for name, part in parts)]
    lines = [header, ["---"] * len(header)]
    for name, about in found["libraries"].items():
        if "failed" in about:
            lines.append([name, about["failed"], *[""] * len(parts)])
            continue
        figures = [found["sets"][own][part][name] for own, part in parts]
        cells = [f"{100 * x['accuracy'][0]:.1f} / {100 * x['balanced_accuracy'][0]:.1f}" for x in figures]
        lines.append([f"{name} {about['version']}", f"{about['megabytes']:,}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _answers(
    each: Library, sets: dict[str, LabeledImages], environments: Path
) -> tuple[dict[str, Any], dict[str, Answer]]:
    python = python_of(each, environments)
    with tempfile.TemporaryDirectory() as folder:
        found = {name: classify(each, python, pixels_of(images), Path(folder)) for name, images in sets.items()}
    seconds = [value for answer in found.values() for value in answer["seconds"].tolist()]
    own = installed(each, python)
    about = {
        "version": own["version"],
        "license": each.license,
        "megabytes": round(sum(own["sizes"].values()) / 1e6),
        "largest": dict(sorted(own["sizes"].items(), key=lambda item: -item[1])[:5]),
        "packages": len(own["sizes"]),
        "median_seconds": statistics.median(seconds),
        "classes": [str(name) for name in next(iter(found.values()))["classes"]],
    }
    return about, found


if __name__ == "__main__":
    main()
