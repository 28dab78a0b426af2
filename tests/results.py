"""Result files of the experiment on FERPlus, with values that are known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.ferplus.corruptions import SEVERITY

LABELS = "0" * 50 + "1" * 50


def record(name: str, seed: int, right: int, **changes: Any) -> dict[str, Any]:
    """A run that gets the first so many of 100 images right."""
    found = {
        "images": 100,
        "accuracy": right / 100,
        "balanced_accuracy": right / 200,
        "per_class_accuracy": {"neutral": 1.0, "happy": right / 50 - 1},
    }
    measures = {
        **dict.fromkeys(("test", "flipped", "unseen", "muxspace", *SEVERITY), found),
        "calibration_error": 0.125,
        "predictions": {"labels": LABELS, "predicted": LABELS[:right] + "7" * (100 - right)},
    }
    common = {"budget": {"views": 9600, "network": "nano"}, "threads": 1, "data": {"ferplus.npz": "ab" * 32}}
    fields = {"views": 9600, "images_per_step": 48, "precision": "bf16", "versions": {"torch": "2.0"}}
    return {"condition": name, "seed": seed, **common, **fields, "measures": measures, **changes}


def store(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for each in records:
        (folder / f"{each['condition']}-seed{each['seed']}.json").write_text(json.dumps(each))
    return folder
