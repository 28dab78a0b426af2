"""Run one cell of a bench: train or resume, and make the record of its result."""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import timm
import torch
import torchvision

from qcs.crossval.honest import checked, honest_split, kept_apart, shared_with_training
from qcs.crossval.plan import Cell
from qcs.crossval.pool import Pool
from qcs.crossval.published import Split, Variant, published_split
from qcs.data import LabeledImages
from qcs.engine.prediction import default_device
from qcs.engine.run_folder import RunFolder, best_of
from qcs.engine.training import Progress, TrainConfig, resume, train
from qcs.engine.training.checkpoints import Checkpoints
from qcs.engine.training.hardware import native_precision
from qcs.engine.training.settings import published
from qcs.errors import InputError
from qcs.files import sha256
from qcs.models import find_weights
from qcs.version import __version__

VARIANT_OF: dict[str, Variant] = {
    "published": "common",
    "published-integer": "integer",
    "published-64-16-20": "64-16-20",
}
CLOCK = ("seconds", "images_per_second")  # of the history: all else is the same in every run on one machine


def split_of(cell: Cell, pool: Pool) -> Split:
    """Return the split of a cell.

    Raises:
        InputError: If the images are too few.
    """
    if cell.protocol in VARIANT_OF:
        return checked(published_split(len(pool), cell.repeat, VARIANT_OF[cell.protocol]), pool)
    return honest_split(pool, cell.repeat)


def trained(config: TrainConfig, splits: Mapping[str, LabeledImages], progress: Progress) -> RunFolder:
    """Return the folder of a finished run: started, resumed, or finished before.

    Raises:
        InputError: If the folder holds a run with other settings, or the training cannot run.
        DivergedError: If the training diverges.
    """
    folder = RunFolder(str(config.output))
    if folder.started:
        if _fixed(TrainConfig.from_dict(folder.read_config()["config"])) != _fixed(config):
            raise InputError(f"{folder.path} holds a run with other settings; remove it, or choose another folder")
        if Checkpoints(folder.checkpoints):
            resume(folder.path, splits, progress)
        if folder.finished:
            return folder
    shutil.rmtree(folder.path, ignore_errors=True)  # it ended before its first checkpoint
    train(config, splits, progress)
    return folder


def of_run(folder: RunFolder, config: TrainConfig) -> dict[str, Any]:
    """Return what a finished run measured; both evaluations are of the weights of the best epoch."""
    history = folder.read_history()
    return {
        "status": "done",
        "best_epoch": int(best_of(history, config.select_on)["epoch"]),
        "selected_on": f"validation {config.select_on}",
        "validation": folder.read_evaluation("validation").to_dict(),
        "test": folder.read_evaluation("test").to_dict(),
        "history": [{name: value for name, value in each.items() if name not in CLOCK} for each in history],
        "timing": {"seconds": history[-1]["seconds"]},
    }


def of_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of a cell: without its seed, and without what is a matter of the machine."""
    settings = {name: value for name, value in published(TrainConfig, config.to_dict()).items() if name != "seed"}
    weights = {"init_sha256": sha256(find_weights(config.init))} if config.init else {}
    return {**settings, **weights}


def of_data(pool: Pool, split: Split, protocol: str) -> dict[str, Any]:
    """Return which images a cell has, and how they are split."""
    digest = hashlib.sha256()
    for part in split:
        digest.update(part.astype("<i8").tobytes() + b"|")
    counts = {name: pool.images.subset(part).class_counts() for name, part in split._asdict().items()}
    return {
        **pool.about,
        "split": counts,
        "split_sha256": digest.hexdigest(),
        "official_test": protocol == "honest" and kept_apart(pool) is not None,
        "left_out": len(pool) - sum(map(len, split)),
        "groups_shared_with_training": shared_with_training(split, pool),
    }


def environment(config: TrainConfig) -> dict[str, Any]:
    """Return the versions and the machine that a result depends on."""
    packages = (torch, torchvision, timm, np, sklearn)
    return {
        "versions": {
            "qcs": __version__,
            **{package.__name__: str(package.__version__) for package in packages},
            "python": platform.python_version(),
        },
        "device": str(default_device()),
        "processor": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": native_precision() if config.precision == "auto" else config.precision,
    }


def remove_run(path: Path) -> None:
    """Remove a run folder, so that the weights of a bench do not fill the disk."""
    shutil.rmtree(path, ignore_errors=True)


def _fixed(config: TrainConfig) -> dict[str, Any]:
    """Settings without those of the machine; the crop may be that of the images."""
    return {name: value for name, value in published(TrainConfig, config.to_dict()).items() if name != "crop"}
