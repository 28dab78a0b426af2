"""Pictures that a small network learns in seconds, in every form that `qcs.data.read` takes, and settings to match."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcs.data import LabeledImages
from qcs.engine.training import TrainConfig

CLASSES = ("happy", "sad", "anger")  # in the order that `qcs.data.read` gives them
SIZES = {"train": 36, "validation": 12, "test": 15}


def squares(count: int = 36, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Gray noise (n, 48, 48) with a bright square at the height of its class, and class indices (n,)."""
    labels = np.arange(count, dtype=np.int64) % len(CLASSES)
    images = np.random.default_rng(seed).integers(0, 80, (count, 48, 48), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[16 * label :, 16:][:16, :16] += 150
    return images, labels


def splits(*names: str) -> dict[str, LabeledImages]:
    """Splits in memory, no two of the same images; all three unless named."""
    sets = {name: squares(size, seed) for seed, (name, size) in enumerate(SIZES.items())}
    return {name: LabeledImages(*sets[name], CLASSES) for name in names or SIZES}


def archive(path: Path, *names: str, **changes: Any) -> Path:
    """An archive of these splits, with labels as names."""
    parts = splits(*names)
    arrays = {
        "images": np.concatenate([np.stack(part.images) for part in parts.values()]),
        "labels": np.concatenate([np.array(CLASSES)[part.labels] for part in parts.values()]),
        "split": np.repeat(list(parts), [len(part) for part in parts.values()]),
    }
    stored = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path, **stored)
    return path


def tree(folder: Path, *names: str) -> Path:
    """A folder per split and class."""
    for name, part in splits(*names).items():
        for row, label in enumerate(part.labels):
            file = folder / name / CLASSES[label] / f"{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            part.image(row).save(file)
    return folder


def table(path: Path, *names: str) -> Path:
    """A .csv list beside its images."""
    images = sorted(tree(path.parent / "images", *names).rglob("*.png"))
    rows = [(file.relative_to(path.parent), file.parent.name, file.parent.parent.name) for file in images]
    return lines(path, ["path,label,split", *(f"{file},{label},{split}" for file, label, split in rows)])


def lines(path: Path, text: Iterable[str]) -> Path:
    """A text file."""
    path.write_text("\n".join(text) + "\n")
    return path


def photos(folder: Path, count: int = 5) -> list[Path]:
    """Image files in color, none of them of the network's size."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{row}.jpg" for row in range(count)]
    for file, image in zip(files, squares(count, seed=9)[0], strict=True):
        Image.fromarray(image).convert("RGB").resize((60, 70)).save(file)
    return files


def settings(data: Path | str = "squares in memory", **changes: Any) -> TrainConfig:
    """A training of a second or two."""
    quick = dict(model="base_nano", epochs=2, batch_size=6, lr=2e-3, sam_rho=0.0, erasing=None)
    return TrainConfig(**{**quick, "data": str(data), **changes})
