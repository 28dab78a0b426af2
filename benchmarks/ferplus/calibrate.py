"""Calibrate the weights in the package on the FERPlus validation images, and write that into their file."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from benchmarks.ferplus.audit import FOLDER, NAME
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.outputs import forward
from qcs.data import read
from qcs.engine.calibration import SHARES, fit
from qcs.files import sha256, write_text
from qcs.models import load_model
from qcs.models.weights import EMBEDDED, save_calibration


def calibrate(data: Data, results: Path, folder: Path = EMBEDDED) -> Path:
    """Fit a temperature to the labels and one to the votes of the validation images; test images are not looked at.

    The tensors of the file stay the same, so a record of `audit` that describes them is of the new file too. It keeps
    the hash of the file that was measured, under which the log of looks has it.

    Args:
        data: The images.
        results: Folder of the results, with the record of `audit`.
        folder: Folder of the weights.

    Returns:
        The weights file.
    """
    path = folder / f"{NAME}.safetensors"
    model, former = load_model(path), sha256(path)
    images = read(data.ferplus, votes=SHARES)["validation"].with_classes(model.class_names)
    logits = torch.from_numpy(forward(model, images))
    save_calibration(path, fit(logits, images, "temperature", data.ferplus.name, "validation"))
    record_path = results / FOLDER / f"{NAME}.json"
    record = json.loads(record_path.read_text(encoding="utf-8"))
    described = record["networks"]["now"]
    if described["sha256"] == former:
        described.update(sha256=sha256(path), measured=described.get("measured", former))
        write_text(record_path, json.dumps(record, indent=1) + "\n")
    return path
