"""The experiment on tiny data: rounds of two steps, few faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image
from rich.console import Console

from benchmarks.ferplus import plan, shortcut
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.run import Experiment
from qcs.data.labels import CLASSES

ROUND = 96  # image views


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Votes for three of FERPlus's classes, eight for the label and two beside it, and a few color images."""
    path = tmp_path_factory.mktemp("data")
    sets = [toy.squares(count, seed) for seed, count in enumerate((120, 15, 18))]
    images, labels = (np.concatenate(parts) for parts in zip(*sets, strict=True))
    images[-1] = images[0]  # a test image that is a training image too
    columns = np.array([CLASSES["ferplus"].index(name) for name in toy.CLASSES])[labels]
    votes = np.zeros((len(labels), 10), np.uint8)
    votes[np.arange(len(labels)), columns] += 7
    votes[:, 0] += 2
    votes[:, 8] += 1
    old = np.array(["happiness", "sadness", "anger"])[labels]
    old[0], old[1] = "", "disgust"
    names = [f"{row}.png" for row in range(len(labels))]
    split = np.repeat([0, 1, 2], [120, 15, 18])
    np.savez(path / "ferplus.npz", images=images, votes=votes, split=split, names=names, fer2013=old)
    pictures, kinds = toy.squares(6, seed=7)
    (path / "muxspace").mkdir()
    for row, image in enumerate(pictures):
        Image.fromarray(image).convert("RGB").resize((60, 60)).save(path / "muxspace" / f"{row}.jpg")
    rows = [f"{row}.jpg,{toy.CLASSES[kind]}" for row, kind in enumerate(kinds)]
    toy.lines(path / "muxspace" / "labels.csv", ["path,label", *rows])
    return path


@pytest.fixture(scope="module")
def experiment(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Experiment]:
    """Runs of four steps; a test has conditions and seeds that no other test has."""
    data, output = Data(folder), tmp_path_factory.mktemp("experiment")
    data.synthetic = shortcut.shortcut_faces({"train": 14, "validation": 2, "test": 4})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "ROUND", ROUND)
        patch.setattr(plan, "START_VIEWS", ROUND)
        patch.setattr(plan, "PLAN", tuple(dataclasses.replace(each, round=ROUND) for each in plan.PLAN))
        yield Experiment(data, plan.Budget(2 * ROUND), output / "results", output / "runs", Console(quiet=True))
