"""Compare loading of training images with torchvision under the same augmentations: images per second on one core.

Run `python -m benchmarks.input_path` on an idle machine. `--photos FOLDER` takes your own JPEG files, one folder per
class, instead of synthetic ones.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.measure import Rounds, cpu_clock
from qcs.data import Augmentation, LabeledImages, read
from qcs.data.batches import SeededBatch, TrainingImages

BATCH = 48
JITTER = (0.2, 0.2, 0.2, 0.1)
ERASING = (0.02, 0.1)
ROTATION = 10.0

Load = Callable[[Sequence[int]], Tensor]


def torchvisions(grayscale: bool, size: int, resize: int) -> transforms.Compose:
    """Return the augmentations of `qcs_loader` in torchvision, its v1 transforms, which are faster here than v2."""
    channels = 1 if grayscale else 3
    return transforms.Compose(
        [
            transforms.Resize((resize, resize)),
            transforms.RandomRotation(ROTATION, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.RandomCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(*JITTER),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * channels, [0.5] * channels),
            transforms.RandomErasing(p=0.5, scale=ERASING),
        ]
    )


def qcs_loader(images: LabeledImages, grayscale: bool, size: int, resize: int) -> Load:
    """Return this library's loading of a batch by indices."""
    channels = 1 if grayscale else 3
    config: dict[str, Any] = dict(
        input_size=(channels, size, size), mean=(0.5,) * channels, std=(0.5,) * channels, interpolation="bilinear"
    )
    augmentation = Augmentation(resize=resize, rotation=ROTATION, color_jitter=JITTER, erasing=ERASING)
    training = TrainingImages(images, config, augmentation)
    return lambda indices: training.__getitems__(SeededBatch(0, list(indices)))[0]


def of_files(photos: Path, size: int, resize: int) -> tuple[int, dict[str, Load]]:
    """Return the number of JPEG files, and both ways to load them."""
    theirs = ImageFolder(str(photos), torchvisions(False, size, resize))
    images = next(iter(read(photos, format="folder").values()))
    return len(theirs), {
        "torchvision": lambda indices: torch.stack([theirs[index][0] for index in indices]),
        "qcs": qcs_loader(images, False, size, resize),
    }


def of_arrays(count: int, side: int, resize: int) -> tuple[int, dict[str, Load]]:
    """Return the number of grayscale arrays in memory, of the size of FER2013, and both ways to load them."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side), dtype=np.uint8)
    transform = torchvisions(True, side, resize)
    return count, {
        "torchvision": lambda indices: torch.stack([transform(Image.fromarray(pixels[index])) for index in indices]),
        "qcs": qcs_loader(LabeledImages(pixels, [0] * count, ["face"]), True, side, resize),
    }


def draw_photos(folder: Path, count: int = 192, side: int = 224) -> Path:
    """Write JPEG files with about as much detail as photographs: soft shapes with slight noise; return their folder."""
    generator = np.random.default_rng(0)
    (folder / "face").mkdir()
    for index in range(count):
        shapes = Image.fromarray(generator.integers(0, 256, (14, 14, 3), dtype=np.uint8))
        soft = shapes.resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
        grain = np.asarray(soft) + generator.normal(0, 4, (side, side, 3))
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / f"face/{index}.jpg", quality=90)
    return folder


def measure(count: int, loads: dict[str, Load], seconds: float) -> dict[str, list[float]]:
    """Return images per second in every round; both ways load the same images in a round."""

    def run(load: Load) -> Callable[[], Tensor]:
        indices = itertools.cycle(range(count))  # every round loads the next images
        return lambda: load(list(itertools.islice(indices, BATCH)))

    rounds = Rounds({name: run(load) for name, load in loads.items()}, "qcs", cpu_clock)
    for _ in range(rounds.fitting(seconds)):
        rounds.time_the_others()
        rounds.time_ours()
    return {name: [BATCH / second for second in times] for name, times in rounds.seconds.items()}


def row(name: str, rates: dict[str, list[float]]) -> str:
    """Return a table row: medians, and the median of the ratios of each round with quartiles."""
    ratios = [ours / theirs for ours, theirs in zip(rates["qcs"], rates["torchvision"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    ours, theirs = (statistics.median(rates[way]) for way in ("qcs", "torchvision"))
    return f"| {name} | {ours:,.0f} | {theirs:,.0f} | {middle:.2f} ({low:.2f} to {high:.2f}) |"


def main() -> None:
    """Measure arrays, and JPEG files at two input sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of JPEG files, a folder per class")
    parser.add_argument("--seconds", type=float, default=20, help="approximate timing per row, in seconds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| images | qcs, per second | torchvision, per second | ratio (quartiles) |\n| --- | --- | --- | --- |")
    print(row("arrays of 48, input 48", measure(*of_arrays(2000, 48, 52), options.seconds)))
    with tempfile.TemporaryDirectory() as folder:
        photos = options.photos or draw_photos(Path(folder))
        for size, resize in ((112, 124), (224, 236)):
            print(row(f"JPEG files, input {size}", measure(*of_files(photos, size, resize), options.seconds)))


if __name__ == "__main__":
    main()
