"""Compare the pretrained start of `base_dlib` with a random one at equal image views, on validation images alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.run import trained, versions
from benchmarks.ferplus.weights_page import table
from qcs.engine.training import TrainConfig
from qcs.files import write_text

FOLDER = "backbone"  # of the records, in the folder of results
EPOCHS = 2
STARTS = {"pretrained": dict(pretrained_backbone=True, layer_decay=0.85), "random": dict(layer_decay=1.0)}
"""Settings by start. Layer-wise decay would hold a random stem near its random values, so a random start has none."""
MEASURES = ("accuracy", "balanced_accuracy", "loss")


def settings(start: str, seed: int, output: str) -> TrainConfig:
    """Return the settings of a run: those of the shipped `base_dlib`, shorter and with light augmentation."""
    return TrainConfig.from_recipe(
        "finetune",
        data="ferplus.npz",
        model="base_dlib",
        model_args={"base_drop_rate": 0.1},
        in_chans=1,
        soft_labels=True,
        epochs=EPOCHS,
        fraction=1.0,
        images_per_step=64,
        lr=8e-4,
        weight_decay=0.05,
        clip_grad=5.0,
        resize=52,
        seed=seed,
        output=output,
        **STARTS[start],
    )


def compare(data: Data, results: Path, runs: Path, seeds: int, console: Console) -> None:
    """Train what has no record yet, both starts of one seed before the next; write a record of each run."""
    splits = {"train": data.vote_shares(), "validation": data.official["validation"]}
    for seed in range(seeds):
        for start in STARTS:
            path = results / FOLDER / f"{start}-seed{seed}.json"
            if path.exists():
                continue
            config = settings(start, seed, str(runs / f"backbone-{start}-seed{seed}"))
            folder = trained(config, splits)
            history = folder.read_history()
            best = max(history, key=lambda epoch: epoch["validation_accuracy"])
            record = {
                "start": start,
                "seed": seed,
                "views": EPOCHS * (len(splits["train"]) // 64) * 64,
                "validation": {name: best[f"validation_{name}"] for name in MEASURES},
                "history": history,
                "config": {name: value for name, value in config.to_dict().items() if name != "output"},
                "data": dict(data.hashes("votes")),
                "versions": versions(),
            }
            write_text(path, json.dumps(record, indent=1) + "\n")
            console.print(f"{path.stem}: {record['validation']}", markup=False, highlight=False, soft_wrap=True)


def read(results: Path) -> list[dict[str, Any]]:
    """Return the records of all runs."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((results / FOLDER).glob("*.json"))]


def summary(records: list[dict[str, Any]]) -> str:
    """Return the table of all runs."""
    return table(("start", "seed", "image views", "accuracy", "balanced accuracy", "NLL"), list(_rows(records)))


def _rows(records: list[dict[str, Any]]) -> Iterator[list[str]]:
    for record in records:
        found = record["validation"]
        shares = (f"{found[name]:.1%}" for name in ("accuracy", "balanced_accuracy"))
        yield [record["start"], str(record["seed"]), f"{record['views']:,}", *shares, f"{found['loss']:.3f}"]
