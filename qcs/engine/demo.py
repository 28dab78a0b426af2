"""The demonstration: two networks trained on drawn faces, compared, and what they look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from timm.data import resolve_model_data_config

from qcs import visualize
from qcs.data import eval_transform
from qcs.data.dataset import LabelledImages
from qcs.data.synthetic import SyntheticFaces, synthetic_faces
from qcs.engine.config import TrainConfig
from qcs.engine.run_folder import RunFolder
from qcs.engine.train import RunResult, train
from qcs.errors import InputError
from qcs.models import load_model
from qcs.samplers import QuadrupletSampler

MODELS = ("base_nano", "qcs_nano")
COUNTS = {"train": 6000, "validation": 700, "test": 1400}


def run_demo(folder: Path, minutes: float, console: Console) -> dict[str, float]:
    """Train both networks on the same faces, test them on the same unseen ones, and draw three pictures.

    Args:
        folder: Where to write; must not hold an earlier demo.
        minutes: Training time of each network.
        console: Where to print.

    Returns:
        Test accuracy of each network, in [0, 1].

    Raises:
        InputError: If the folder holds an earlier demo.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; choose another folder with --output, or remove it")
    console.print(f"drawing {sum(COUNTS.values()):,} faces of {sum(COUNTS.values()):,} people", highlight=False)
    faces = {split: synthetic_faces(count, seed=seed) for seed, (split, count) in enumerate(COUNTS.items())}
    splits = {name: LabelledImages(drawn.images, drawn.labels, drawn.classes) for name, drawn in faces.items()}
    results = {
        model: train(
            _settings(model, minutes, folder / model),
            splits,
            console,
        )
        for model in MODELS
    }
    accuracies = {model: result.test.accuracy for model, result in results.items() if result.test is not None}
    RunFolder(folder).write_json("accuracies.json", accuracies)
    _draw(folder, results, faces["test"])
    for model, accuracy in accuracies.items():
        console.print(f"{model}: {accuracy:.2%} of the same {COUNTS['test']:,} unseen faces", highlight=False)
    for picture in ("attention.png", "confusion.png", "curves.png"):
        console.print(f"picture {folder / picture}", highlight=False, soft_wrap=True)
    return accuracies


def _settings(model: str, minutes: float, output: Path) -> TrainConfig:
    """The nano recipe without augmentation but flips: there are as many drawn people as one wants."""
    return TrainConfig.from_recipe(
        "nano",
        data="synthetic faces",
        model=model,
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
    columns, attention = compare_faces(results["qcs_nano"].folder / "best.safetensors", faces)
    rows = {
        **{f"attention, level {level}": weights for level, weights in enumerate(attention, start=1)},
        "expressive regions\n(ground truth)": faces.masks[columns],
    }
    titles = [faces.classes[faces.labels[i]] for i in columns]
    picture = visualize.attention_rows(faces.images[columns], rows, column_titles=titles)
    visualize.save(picture, folder / "attention.png")


def compare_faces(
    weights: Path, faces: SyntheticFaces, quadruplets: int = 2, seed: int = 3
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Cross-similarity attention of a trained network over a few quadruplets of faces.

    Returns:
        Indices of the faces (n,), and the attention (levels, n, N) over each level's tokens.
    """
    model = load_model(weights)
    prepare = eval_transform(resolve_model_data_config(model))
    images = LabelledImages(faces.images, faces.labels, faces.classes, transform=prepare)
    sampler = QuadrupletSampler(faces.labels, quadruplets, seed=seed)
    indices = np.array(next(iter(sampler)))
    with torch.inference_mode():
        branches = torch.stack([images[i][0] for i in indices]).chunk(4)
        out = model(*branches, return_attention=True)
    by_quadruplet = indices.reshape(4, quadruplets).T.reshape(-1)
    attention = out.attention.transpose(1, 2).flatten(1, 2).numpy()
    return by_quadruplet, attention
