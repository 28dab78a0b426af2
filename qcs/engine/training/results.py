"""Write the files of a training run: settings at its start, weights of each epoch, results at its end."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator

from qcs.engine.evaluation import Evaluation
from qcs.engine.run_folder import RunFolder
from qcs.engine.training.components import Components
from qcs.engine.training.config import TrainConfig
from qcs.files import writing
from qcs.models import CrossSimilarityNetwork, save_model
from qcs.models.weights import list_embedded
from qcs.version import __version__

FEW_IMAGES = 20_000  # below, a network with random weights learns little more than the frequent classes


def started_with(run: Components) -> dict[str, Any]:
    """Return what decides a run, for `config.json`."""
    return {
        "config": run.config.to_dict(),
        "anchors_per_step": run.config.anchors_per_step(run.model.branches),
        "precision": run.precision,
        "processes": run.accelerator.num_processes,
        "threads": torch.get_num_threads(),
        "images": run.data.summary(),
        "teachers": dict(run.teachers.hashes) if run.teachers else {},
        "model_chosen_on": run.data.selection,
        "model_args": run.model.model_args,
        "versions": {"qcs": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def introduction(run: Components, folder: RunFolder) -> Iterator[str]:
    """Yield lines that describe a run to a person."""
    counts = {name: sum(classes.values()) for name, classes in run.data.summary().items()}
    yield (
        f"{run.config.model} on {', '.join(f'{n:,} {name}' for name, n in counts.items())} images; "
        f"classes {', '.join(run.model.class_names)}"
    )
    if isinstance(run.model, CrossSimilarityNetwork) and (line := few_images(run.config, counts["train"])):
        yield line
    yield f"the model is chosen on {run.data.selection}, never on test images"
    yield f"run folder {folder.path}"


def other_machine(began: Mapping[str, Any], run: Components) -> str | None:
    """Return a line if a resumed run computes in another way than it began, so that last bits differ; else None."""
    now = started_with(run)
    names = ("precision", "processes", "threads")
    differing = [
        f"{name} {now[name]} instead of {began[name]}" for name in names if began.get(name, now[name]) != now[name]
    ]
    if not differing:
        return None
    return f"the run began otherwise: {', '.join(differing)}; it goes on, but not with the same bits"


def few_images(config: TrainConfig, images: int) -> str | None:
    """Return a line of advice for a training from random weights on few images, otherwise None."""
    if images >= FEW_IMAGES or config.init is not None or config.pretrained_backbone:
        return None
    return (
        f"{images:,} training images are few for a network with random weights (below {FEW_IMAGES:,}): accuracy will "
        f"be low; start from trained weights with --init {list_embedded()[0].partition('.')[0]}"
    )


def share_done(epochs_done: float, epochs: int) -> str:
    """Return how much of the epochs of a run was done, as text.

    Example:
        >>> share_done(12.5, 100)
        '12.5 of 100 epochs (12.5%)'
    """
    return f"{epochs_done:.3g} of {epochs} epochs ({epochs_done / epochs:.1%})"


def cut_short(config: TrainConfig, epochs_done: float, seconds: float) -> str | None:
    """Return what ended a run before all of its epochs, and after what share; None for a run of all epochs.

    Args:
        config: The settings.
        epochs_done: Epochs that were trained.
        seconds: Wall time of the run.
    """
    if epochs_done >= config.epochs:
        return None
    after = f"ended the run after {share_done(epochs_done, config.epochs)}"
    if config.minutes is not None and (config.patience is None or seconds >= 60 * config.minutes):
        return f"the time budget of {config.minutes:g} min {after}"
    return f"early stopping {after}: no better validation {config.patience_on} in {config.patience} epochs"


def start_log(accelerator: Accelerator, folder: RunFolder, resumed_after: int | None) -> None:
    """Start the TensorBoard log; epochs above `resumed_after`, which a resumed run repeats, are dropped from it."""
    accelerator.project_configuration.logging_dir = str(folder.path)
    purge = {} if resumed_after is None else {"purge_step": resumed_after + 1}
    with writing(folder.tensorboard):
        accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": purge})


def save_epoch(run: Components, folder: RunFolder, history: Sequence[Mapping[str, float]], best: bool) -> None:
    """Log the last epoch of the history; in the main process write the history and the weights."""
    record = history[-1]
    with writing(folder.tensorboard):
        run.accelerator.log({k: v for k, v in record.items() if k != "epoch"}, step=int(record["epoch"]))
    if not run.accelerator.is_main_process:
        return
    folder.write_history(history)
    info = {**record, "crop": run.config.crop}
    for path in (folder.best, folder.last) if best else (folder.last,):
        save_model(run.evaluated, path, info=info)


def write_results(
    folder: RunFolder,
    name: str,
    history: Sequence[Mapping[str, float]],
    best_epoch: int,
    results: Mapping[str, Evaluation],
) -> Iterator[str]:
    """Write the evaluations and their figures; yield a line per result.

    Args:
        folder: The run folder.
        name: Name of the network in figures.
        history: One record per epoch.
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
    figures = {
        "confusion.png": visualize.confusion_matrices(matrices, classes),
        "curves.png": visualize.loss_curves({name: history}),
    }
    for file, figure in figures.items():
        with writing(folder.path / file):
            visualize.save(figure, folder.path / file)
    yield f"wrote {folder.path}"
