"""What a run says of itself: the settings it begins with and the results it ends with."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

import qcs
from qcs.engine.evaluation import Evaluation
from qcs.engine.run_folder import RunFolder
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.data import Sources
from qcs.files import writing
from qcs.models import CrossSimilarityNetwork


def beginning(
    config: TrainConfig,
    model: CrossSimilarityNetwork,
    data: Sources,
    teachers: Mapping[str, str],
    *,
    precision: str,
    processes: int,
) -> dict[str, Any]:
    """Everything that decides a run, for `config.json`.

    Args:
        config: The settings.
        model: The network.
        data: The images.
        teachers: SHA-256 of the teachers' weights, by source.
        precision: The one that `"auto"` stands for on this machine, or the chosen one.
        processes: How many the run has.
    """
    return {
        "config": dataclasses.asdict(config),
        "anchors_per_step": config.anchors_per_step(model.branches),
        "precision": precision,
        "processes": processes,
        "images": data.summary(),
        "teachers": dict(teachers),
        "model_chosen_on": data.selection,
        "model_args": model.model_args,
        "versions": {"qcs": qcs.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def introduction(config: TrainConfig, model: CrossSimilarityNetwork, data: Sources, folder: RunFolder) -> Iterator[str]:
    """The same for whoever watches, line by line."""
    yield "settings: " + ", ".join(f"{name}={value}" for name, value in dataclasses.asdict(config).items())
    counts = {name: sum(classes.values()) for name, classes in data.summary().items()}
    yield (
        f"{config.model} on {', '.join(f'{n:,} {name}' for name, n in counts.items())} images; "
        f"classes {', '.join(model.class_names)}"
    )
    yield f"the model is chosen on {data.selection}, never on test images"
    yield f"run folder {folder.path}"


def write_results(
    folder: RunFolder,
    name: str,
    history: Sequence[Mapping[str, float]],
    best_epoch: int,
    results: Mapping[str, Evaluation],
) -> Iterator[str]:
    """Write the evaluations and draw their pictures, saying each result.

    Args:
        folder: The run folder.
        name: What the network is called in pictures.
        history: A record per epoch.
        best_epoch: Epoch whose weights were evaluated.
        results: Evaluations by split.
    """
    from qcs import visualize

    for split, result in results.items():
        folder.write_evaluation(split, result, best_epoch)
        yield (
            f"{split}: accuracy {result.accuracy:.2%}, balanced {result.balanced_accuracy:.2%} "
            f"({result.images:,} images, weights of epoch {best_epoch})"
        )
    matrices = {split: result.confusion for split, result in results.items()}
    classes = next(iter(results.values())).classes
    pictures = {
        "confusion.png": visualize.confusion_matrices(matrices, classes),
        "curves.png": visualize.loss_curves({name: history}),
    }
    for file, picture in pictures.items():
        with writing(folder.path / file):
            visualize.save(picture, folder.path / file)
    yield f"wrote {folder.path}"
