"""Augmentation of whole batches: each step is torchvision's, image by image, and the draws cover what they should."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from qcs.data import Augmentation
from qcs.data.batched_augmentation import BatchedAugmentation
from qcs.data.color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation

STILL: dict[str, Any] = dict(flip=0.0, rotation=0.0, color_jitter=(0.0, 0.0, 0.0, 0.0), erasing=None)


def config(channels: int = 3, size: int = 24, interpolation: str = "bilinear") -> dict[str, Any]:
    return dict(
        input_size=(channels, size, size), mean=(0.5,) * channels, std=(0.25,) * channels, interpolation=interpolation
    )


def pixels(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_pixels(x: Tensor) -> Tensor:
    return (x * 0.25 + 0.5) * 255


def test_without_changes_pixels_are_only_normalized() -> None:
    stored = pixels(3, 24, 24, 3)
    out = BatchedAugmentation(config(), Augmentation(**STILL))(stored, generator())
    assert_close(as_pixels(out), torch.from_numpy(stored).permute(0, 3, 1, 2).float(), rtol=0, atol=1e-4)


def test_gray_images_fill_all_channels_and_color_images_become_gray_where_the_model_is() -> None:
    gray = BatchedAugmentation(config(), Augmentation(**STILL))(pixels(2, 24, 24), generator())
    assert gray.shape == (2, 3, 24, 24) and torch.equal(gray[:, 0], gray[:, 2])
    stored = pixels(2, 24, 24, 3)
    out = BatchedAugmentation(config(1), Augmentation(**STILL))(stored, generator())
    expected = TF.rgb_to_grayscale(torch.from_numpy(stored).permute(0, 3, 1, 2).float()).round()
    assert (as_pixels(out) - expected).abs().max() <= 1.01  # the weights differ in the fourth place


@pytest.mark.parametrize(("before", "interpolation"), [(60, "bilinear"), (20, "bilinear"), (60, "bicubic")])
def test_resizing_is_torchvisions(before: int, interpolation: str) -> None:
    stored = pixels(2, before, before)
    out = BatchedAugmentation(config(1, interpolation=interpolation), Augmentation(**STILL))(stored, generator())
    images = torch.from_numpy(stored).unsqueeze(1).float()
    expected = TF.resize(images, [24, 24], InterpolationMode(interpolation), antialias=True).clamp(0, 255).round()
    assert_close(as_pixels(out), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_stretching_changes_the_width_alone(flip: float) -> None:
    square = np.zeros((200, 100, 100), np.uint8)
    square[:, 30:70, 30:70] = 255
    stretched = Augmentation(**{**STILL, "stretch": 0.2, "flip": flip})
    seen = BatchedAugmentation(config(1, size=100), stretched)(square, generator())[:, 0] > 0
    widths, heights = seen.sum(2).amax(1), seen.sum(1).amax(1)
    assert 31 <= widths.min() < 34 and 46 < widths.max() <= 49
    assert heights.min() >= 39 and heights.max() <= 41


def test_degradation_is_that_of_its_settings() -> None:
    stored = pixels(64, 24, 24)
    plain, degraded = (
        BatchedAugmentation(config(1), Augmentation(**{**STILL, **more}))(stored, generator())
        for more in ({}, {"low_light": 0.5, "blur": 1.0, "noise": 10.0})
    )
    changed = (plain != degraded).flatten(1).any(1).float().mean()
    assert 0.4 < changed < 0.75  # 58% are expected


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize(("degrees", "scale"), [(0.0, 1.0), (17.0, 1.0), (17.0, 1.2), (0.0, 0.9)])
def test_rotation_scaling_crop_and_flip_are_torchvisions(degrees: float, scale: float, flip: float) -> None:
    augment = BatchedAugmentation(config(1), Augmentation(**{**STILL, "resize": 30, "flip": flip}))
    x = torch.from_numpy(pixels(2, 30, 30)).unsqueeze(1).float()
    top, left = torch.tensor([0, 5]), torch.tensor([6, 2])
    turn, flips = torch.full((2,), math.radians(degrees)), torch.full((2,), flip == 1.0)
    grid = augment._sources(turn, torch.full((2,), scale), torch.ones(2), [top, left], flips)
    out = torch.nn.functional.grid_sample(x, grid, align_corners=False)
    for image, got, t, s in zip(x, out, top.tolist(), left.tolist(), strict=True):
        moved = TF.affine(image, degrees, [0, 0], scale, [0.0], InterpolationMode.BILINEAR)
        expected = TF.crop(moved, t, s, 24, 24)
        expected = TF.horizontal_flip(expected) if flip else expected
        assert_close(got, expected, rtol=0, atol=0.02)


def test_every_crop_and_both_sides_are_drawn() -> None:
    augment = BatchedAugmentation(config(1, size=4), Augmentation(**{**STILL, "resize": 6, "flip": 0.5}))
    stored = np.tile(np.arange(36, dtype=np.uint8).reshape(1, 6, 6) * 7, (400, 1, 1))
    seen = as_pixels(augment(stored, generator())).round()[:, 0]
    corners = {(int(image[0, 0]), int(image[0, -1])) for image in seen}
    across = {(7 * (6 * top + left), 7 * (6 * top + left + 3)) for top in range(3) for left in range(3)}
    assert corners == across | {(b, a) for a, b in across}


def test_angles_and_scales_reach_both_ends_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Tensor, Tensor]] = []
    augment = BatchedAugmentation(config(1), Augmentation(**{**STILL, "rotation": 10.0, "scale": 0.2}))
    original = augment._sources
    monkeypatch.setattr(
        augment, "_sources", lambda turn, scale, *rest: drawn.append((turn, scale)) or original(turn, scale, *rest)
    )
    augment(pixels(2000, 24, 24), generator())
    for values, middle, most in ((drawn[0][0].rad2deg(), 0.0, 10.0), (drawn[0][1], 1.0, 0.2)):
        offset = (values - middle) / most
        assert 0.99 < offset.max() <= 1 and -1 <= offset.min() < -0.99
        assert abs(offset.mean()) < 0.05


COLORS = [
    (adjust_brightness, TF.adjust_brightness, [0.0, 0.7, 1.0, 1.6]),
    (adjust_contrast, TF.adjust_contrast, [0.0, 0.7, 1.0, 1.6]),
    (adjust_saturation, TF.adjust_saturation, [0.0, 0.7, 1.0, 1.6]),
    (adjust_hue, TF.adjust_hue, [-0.5, -0.1, 0.0, 0.3]),
]


@pytest.mark.parametrize(("ours", "torchvisions", "amounts"), COLORS)
def test_color_changes_are_torchvisions(ours: Any, torchvisions: Any, amounts: list[float]) -> None:
    images = torch.from_numpy(pixels(4, 3, 9, 7)).float()
    images[0, :, 0, 0] = 77  # gray: no hue
    images[1, :, 0, 0] = 0
    out = ours(images.clone(), torch.tensor(amounts).view(4, 1, 1, 1))
    for image, got, amount in zip(images, out, amounts, strict=True):
        assert_close(got, 255 * torchvisions(image / 255, amount), rtol=0, atol=0.06)  # its gray weights are rounded


def test_hue_leaves_a_gray_image_gray() -> None:
    image = torch.full((1, 3, 2, 2), 100.0)
    assert torch.equal(adjust_hue(image, torch.tensor(0.3).view(1, 1, 1, 1)), image)


def test_erasing_blanks_rectangles_of_the_asked_area_in_half_the_images() -> None:
    augment = BatchedAugmentation(config(1, size=40), Augmentation(**{**STILL, "erasing": (0.05, 0.2)}))
    out = augment(np.full((2000, 40, 40), 255, np.uint8), generator())[:, 0]
    blank = out == 0  # the mean color
    share = blank.float().mean((1, 2))
    erased = share > 0
    assert 0.45 < erased.float().mean() < 0.55
    assert 0.04 < share[erased].min() < 0.06 and 0.19 < share[erased].max() < 0.22  # sides are rounded
    rows, columns = blank.any(2).sum(1), blank.any(1).sum(1)
    assert torch.equal(rows * columns, blank.sum((1, 2)))  # whole rectangles
    assert blank[:, 0].any() and blank[:, -1].any() and blank[:, :, 0].any() and blank[:, :, -1].any()


def test_the_generator_decides_everything() -> None:
    everything = Augmentation(resize=28, rotation=15, erasing=(0.1, 0.2))
    augment, stored = BatchedAugmentation(config(), everything), pixels(6, 24, 24, 3)
    torch.manual_seed(1)
    first = augment(stored, generator(5))
    torch.manual_seed(2)
    assert torch.equal(first, augment(stored, generator(5)))
    assert not torch.equal(first, augment(stored, generator(6)))
