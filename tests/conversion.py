"""Conversion of the eight original checkpoints, from the recipe's weights: what became of their entries, and how far
the converted network is from the original.

The tests assert on what this module measures; `python tests/conversion.py` prints it.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))

import original_network
from golden import recipe
from parity import GOLDEN, NETWORKS, relative_error

import qcs
from qcs import cli
from qcs.models.weights import read_config

SCHEMAS: dict[str, dict[str, list[int]]] = json.loads((GOLDEN / "schemas.json").read_text())


class RecorderMeter:
    """Stands for the objects of the training script's classes that lie in the original's files."""


@dataclass(frozen=True)
class Measured:
    """What one conversion came to.

    Attributes:
        matched: Entries that filled one of the network's.
        dropped: Entries left out, by what they are.
        total: Entries of the checkpoint.
        fresh: Entries of the network that it left random.
        identical: Whether every tensor written is that of the checkpoint, bit by bit, under its original name.
        original: Largest relative deviation in float64 of its logits from those computed from the original's entries.
        golden: The same from the golden logits; NaN where there are none.
    """

    matched: int
    dropped: dict[str, int]
    total: int
    fresh: int
    identical: bool
    original: float
    golden: float


def network(schema: str) -> str:
    """Our name of an original network: dcs_raf_db is dcs_ir50.raf_db."""
    return schema.replace("_", "_ir50.", 1)


def write_original(state: dict[str, Tensor], path: Path) -> None:
    """A file as the original's training script leaves them."""
    prefixed = {f"module.{key}": value for key, value in state.items()}
    torch.save({"epoch": 7, "state_dict": prefixed, "best_acc": torch.tensor(0.0), "recorder": RecorderMeter()}, path)


def measure(schema: str, folder: Path) -> Measured:
    """Convert one of the eight with `qcs convert` and compare what was written with what was given."""
    state = recipe.state_dict(schema)
    source, written = folder / f"{schema}.pth", folder / f"{schema}.safetensors"
    write_original(state, source)
    done = CliRunner().invoke(cli.app, ["convert", str(source), "--to", network(schema), "--output", str(written)])
    source.unlink()
    assert done.exit_code == 0, done.exception or done.output
    entries = read_config(written)["info"]["entries"]
    model = qcs.load_model(written)
    written.unlink()
    names = {original_network.original_name(key): value for key, value in model.state_dict().items()}
    identical = len(names) == entries["matched"] and all(torch.equal(value, state[key]) for key, value in names.items())
    images = recipe.images("shared/a", dtype=torch.float64)
    with torch.inference_mode():
        logits = model.double()(images)
        wanted = original_network.logits({k: v.double() for k, v in state.items()}, images)
    golden = load_file(GOLDEN / f"{schema}.safetensors")["eval/logits"] if schema in NETWORKS else None
    return Measured(
        **entries,
        identical=identical,
        original=relative_error(logits, wanted),
        golden=math.nan if golden is None else relative_error(logits, golden),
    )


def main() -> None:
    """Convert all eight and print a line for each."""
    print(f"{'':<16}{'matched':>8}{'dropped':>8}{'total':>6}{'identical':>10}{'original':>10}{'golden':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for schema in SCHEMAS:
            m = measure(schema, Path(folder))
            dropped = sum(m.dropped.values())
            print(
                f"{schema:<16}{m.matched:>8}{dropped:>8}{m.total:>6}{m.identical!s:>10}{m.original:>10.1e}{m.golden:>9.1e}"
            )


if __name__ == "__main__":
    main()
