"""The demonstration: a real photograph; then two networks trained on drawn faces, compared, and what they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from qcs import visualize
from qcs.cli.photograph import predict_photograph
from qcs.cli.training_display import TrainingDisplay
from qcs.data.dataset import LabeledImages
from qcs.data.synthetic import SyntheticFaces, synthetic_faces
from qcs.engine.run_folder import RunFolder
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.trainer import RunResult, train
from qcs.errors import InputError
from qcs.models import load_model
from qcs.report.figures import mean_face_attention

BRANCHES = {"base_nano": 1, "qcs_nano": 4}
EPOCHS = 6
ATTENDED = 140  # faces compared with one another for the picture of attention
COUNTS = {"train": 6000, "validation": 700, "test": 1400}


def run_demo(folder: Path, minutes: float, console: Console) -> dict[str, float]:
    """Classify the face in a photograph; train both networks on the same drawn faces, test them on unseen ones, draw.

    Args:
        folder: Where to write; must not hold an earlier demo.
        minutes: Time limit of each training; a machine that needs longer trains less.
        console: Where to print.

    Returns:
        Test accuracy of each network, in [0, 1].

    Raises:
        InputError: If the folder holds an earlier demo.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; choose another folder with --output, or remove it")
    marked = predict_photograph(folder, console)
    console.print(f"drawing {sum(COUNTS.values()):,} faces of {sum(COUNTS.values()):,} people", highlight=False)
    faces = {split: synthetic_faces(count, seed=seed) for seed, (split, count) in enumerate(COUNTS.items())}
    splits = {name: LabeledImages(drawn.images, drawn.labels, drawn.classes) for name, drawn in faces.items()}
    results = {model: _trained(_settings(model, minutes, folder / model), splits, console) for model in BRANCHES}
    accuracies = {model: result.test.accuracy for model, result in results.items() if result.test is not None}
    RunFolder(folder).write_json("accuracies.json", accuracies)
    _draw(folder, results, faces["test"])
    for model, accuracy in accuracies.items():
        console.print(f"{model}: {accuracy:.2%} of the same {COUNTS['test']:,} unseen faces", highlight=False)
    drawn = [folder / name for name in ("attention.png", "confusion.png", "curves.png")]
    for picture in [marked, *drawn] if marked else drawn:
        console.print(f"picture {picture}", highlight=False, soft_wrap=True)
    return accuracies


def _trained(config: TrainConfig, splits: dict[str, LabeledImages], console: Console) -> RunResult:
    with TrainingDisplay(console) as progress:
        return train(config, splits, progress)


def _settings(model: str, minutes: float, output: Path) -> TrainConfig:
    """The nano recipe on equally many images for both, flips its only augmentation: drawn people are plenty."""
    return TrainConfig.from_recipe(
        "nano",
        data="synthetic faces",
        model=model,
        epochs=EPOCHS,
        fraction=1 / BRANCHES[model],
        minutes=minutes,
        output=str(output),
        resize=None,
        rotation=0.0,
        color_jitter=(0.0, 0.0, 0.0, 0.0),
    )


def _draw(folder: Path, results: dict[str, RunResult], faces: SyntheticFaces) -> None:
    matrices = {model: result.test.confusion for model, result in results.items() if result.test is not None}
    visualize.save(visualize.confusion_matrices(matrices, faces.classes), folder / "confusion.png")
    histories = {model: result.history for model, result in results.items()}
    visualize.save(visualize.loss_curves(histories), folder / "curves.png")
    some = LabeledImages(faces.images[:ATTENDED], faces.labels[:ATTENDED], faces.classes)
    shown = [int(np.flatnonzero(faces.labels == label)[0]) for label in range(len(faces.classes))]
    attention = mean_face_attention(load_model(results["qcs_nano"].folder / "best.safetensors"), some, shown)
    rows = {
        **{f"attention, level {level}": weights for level, weights in enumerate(attention, start=1)},
        "expressive regions\n(ground truth)": faces.masks[shown],
    }
    picture = visualize.attention_rows(faces.images[shown], rows, column_titles=faces.classes)
    visualize.save(picture, folder / "attention.png")
