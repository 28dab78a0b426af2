"""Convert images to the normalized tensors that a model expects, with and without random augmentation.

A grayscale image keeps one channel until normalization, so the random steps process a third of the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from qcs.data.dataset import Transform
from qcs.data.degradation import Degradation
from qcs.data.images import ImageLike, as_image
from qcs.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Settings of the augmentation of training images; defaults as in QCS (AAAI 2025) for RAF-DB and FERPlus.

    The order is: resize, rotation, scaling and stretching, crop, flip, color jitter, low light, blur, noise, erasing.

    Args:
        resize: Shorter side in pixels that the image is resized to before a random crop to the input size of the model.
            None resizes to the input size, without a crop.
        flip: Probability of a horizontal flip.
        rotation: Maximum rotation in degrees, in either direction; new corners are black.
        scale: Maximum relative change of size about the center, in either direction; new edges are black.
        stretch: Maximum relative change of the width alone, in either direction, as when a head turns.
        color_jitter: Maximum relative change of brightness, contrast and saturation, and maximum hue shift as a
            fraction of the color circle (at most 0.5). Saturation and hue do not apply to grayscale images.
        low_light: Maximum fraction of the light that is taken away, with probability 0.25; see `Degradation`.
        blur: Maximum standard deviation of a Gaussian blur in pixels of the input, with probability 0.25.
        noise: Maximum standard deviation of Gaussian noise, of 255, with probability 0.25.
        erasing: Minimum and maximum fraction of the area to erase with the mean color, as the last step, with
            probability 0.5. None disables erasing.

    Raises:
        InputError: A value outside its range.

    Example:
        >>> Augmentation(resize=236, rotation=12, erasing=(0.03, 0.1)).flip
        0.5
    """

    resize: int | None = None
    flip: float = 0.5
    rotation: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    color_jitter: tuple[float, float, float, float] = (0.2, 0.2, 0.2, 0.1)
    low_light: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    erasing: tuple[float, float] | None = (0.02, 0.1)

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip is {self.flip}; expected a probability, 0 to 1")
        if not 0 <= self.rotation <= 180:
            raise InputError(f"rotation is {self.rotation}; expected degrees, 0 to 180")
        for name in ("scale", "stretch", "low_light"):
            if not 0 <= (value := getattr(self, name)) < 1:
                raise InputError(f"{name} is {value}; expected a relative change, at least 0 and below 1")
        for name, unit in (("blur", "pixels"), ("noise", "levels of 255")):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise InputError(f"{name} is {value}; expected a standard deviation in {unit}, at least 0")
        if len(self.color_jitter) != 4 or min(self.color_jitter) < 0 or self.color_jitter[3] > 0.5:
            raise InputError(
                f"color_jitter is {self.color_jitter}; expected brightness, contrast, saturation and hue, "
                f"none negative and hue at most 0.5"
            )
        if self.erasing is not None and not (len(self.erasing) == 2 and 0 < self.erasing[0] <= self.erasing[1] < 1):
            raise InputError(
                f"erasing is {self.erasing}; expected the minimum and maximum fraction of the area, between 0 and 1"
            )

    @property
    def is_affine(self) -> bool:
        """Whether rotation, scaling or stretching require interpolation between pixels."""
        return max(self.rotation, self.scale, self.stretch) > 0

    @property
    def degradation(self) -> Degradation:
        """The loss of light, blur and noise."""
        return Degradation(self.low_light, self.blur, self.noise)


def train_transform(data_config: Mapping[str, Any], augmentation: Augmentation) -> Transform:
    """Build the random transform of training images.

    All randomness comes from the global generator of torch, which a `DataLoader` seeds in its workers.

    Args:
        data_config: The result of `timm.data.resolve_model_data_config(model)`; `input_size` (C, H, W), `mean`, `std`
            and `interpolation` are used.
        augmentation: Settings of the random changes.

    Returns:
        A function from a grayscale or color image to a float32 tensor (C, H, W).

    Raises:
        InputError: A value of `data_config` is missing or unknown, or `resize` is smaller than the input size.

    Example:
        >>> config = dict(input_size=(3, 48, 48), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
        >>> train_transform(config, Augmentation(resize=52))(Image.new("L", (60, 60))).shape
        torch.Size([3, 48, 48])
    """
    expected = ModelInput(data_config)
    steps: list[Any] = [expected.convert, expected.resize(augmentation.resize)]
    if augmentation.is_affine or augmentation.flip or augmentation.resize is not None:
        steps.append(_Placement(expected.size, augmentation))
    if any(augmentation.color_jitter):
        steps.append(v2.ColorJitter(*augmentation.color_jitter))
    if augmentation.degradation:
        steps.append(_Degraded(augmentation.degradation))
    steps.append(expected.normalize)
    if augmentation.erasing is not None:
        steps.append(v2.RandomErasing(p=0.5, scale=augmentation.erasing, inplace=True))
    pipeline: Transform = v2.Compose(steps)
    return pipeline


def eval_transform(data_config: Mapping[str, Any], resize: int | None = None) -> Transform:
    """Build the transform for evaluation and prediction: resize, center crop, normalize.

    The image is resized to the input size of the model divided by `crop_pct`, without keeping its aspect ratio (crop
    mode "squash" of timm).

    Args:
        data_config: As for `train_transform`; `crop_pct` is also used.
        resize: Shorter side in pixels that the image is resized to before the crop, as in `Augmentation`; give the
            value the model was trained with. None uses `crop_pct`.

    Returns:
        A function from a picture, in any form that `qcs.data.as_image` takes, to a float32 tensor (C, H, W).

    Raises:
        InputError: As for `train_transform`.

    Example:
        >>> config = dict(input_size=(1, 48, 48), mean=(0.5,), std=(0.5,), interpolation="bilinear", crop_pct=1.0)
        >>> pixels = eval_transform(config)(Image.new("RGB", (60, 50), "white"))
        >>> pixels.shape, pixels.min().item(), pixels.max().item()
        (torch.Size([1, 48, 48]), 1.0, 1.0)
    """
    expected = ModelInput(data_config)
    if resize is None:
        resize = round(min(expected.size) / _entry(data_config, "crop_pct"))
    steps = [expected.convert, expected.resize(resize), v2.CenterCrop(expected.size), expected.normalize]
    pipeline: Transform = v2.Compose(steps)
    return pipeline


class _Placement:
    """Rotate, scale, stretch, crop and flip an image at random, in one pass over the pixels.

    Args:
        size: Height and width of the crop.
        augmentation: Settings of rotation, scaling, stretching and flip.
    """

    def __init__(self, size: list[int], augmentation: Augmentation) -> None:
        self.size, self.augmentation = size, augmentation

    def __call__(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        angle, top, left, flip, scale = torch.rand(5).tolist()
        stretch = torch.rand(1).item() if self.augmentation.stretch else 0.5
        angle = math.radians((2 * angle - 1) * self.augmentation.rotation)
        top, left = int(top * (image.height - height + 1)), int(left * (image.width - width + 1))
        flip = flip < self.augmentation.flip
        if not self.augmentation.is_affine:
            image = image.crop((left, top, left + width, top + height))
            return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image
        scale = 1 + (2 * scale - 1) * self.augmentation.scale
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        wide = 1 + (2 * stretch - 1) * self.augmentation.stretch
        center_x, center_y = image.width / 2, image.height / 2
        # Source of a pixel: its position in the crop, stretched, rotated and scaled about the center of the image.
        x, y = ((left + width if flip else left) - center_x) / wide, top - center_y
        across = (-1 if flip else 1) / wide
        matrix = across * cos, -sin, cos * x - sin * y + center_x, across * sin, cos, cos * y + sin * x + center_y
        return image.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


class _Degraded:
    """Degrade one image, rounded to whole values."""

    def __init__(self, degradation: Degradation) -> None:
        self.degradation = degradation

    def __call__(self, image: Image.Image) -> Image.Image:
        pixels = torch.from_numpy(np.array(image)).float()
        channels = pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        degraded = self.degradation(channels.unsqueeze(0))[0].round().byte()
        return Image.fromarray((degraded[0] if pixels.ndim == 2 else degraded.permute(1, 2, 0)).numpy())


class ModelInput:
    """The input format of a model (size, channels, value range) and the steps that convert an image to it."""

    def __init__(self, data_config: Mapping[str, Any]) -> None:
        channels, *self.size = _entry(data_config, "input_size")
        mean, std = _entry(data_config, "mean"), _entry(data_config, "std")
        if channels not in (1, 3) or len(mean) != channels or len(std) != channels:
            raise InputError(
                f"the model takes {channels} channels, with {len(mean)} means and {len(std)} standard deviations; "
                f"expected 1 or 3 channels with a mean and a standard deviation each"
            )
        self.grayscale = channels == 1
        self.mean = 255 * torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1)
        self.std = 255 * torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)
        try:
            self.interpolation = v2.InterpolationMode(_entry(data_config, "interpolation"))
        except ValueError as error:
            known = ", ".join(mode.value for mode in v2.InterpolationMode)
            raise InputError(f"{error} in the data config; expected one of {known}") from error

    def convert(self, image: ImageLike) -> Image.Image:
        image = as_image(image)
        return image.convert("L") if self.grayscale and image.mode == "RGB" else image

    def resize(self, side: int | None) -> v2.Resize:
        """Return a resize to a shorter side of `side` pixels in the aspect ratio of the input; None: input size."""
        return v2.Resize(self.resized(side), interpolation=self.interpolation)

    def resized(self, side: int | None) -> list[int]:
        """Return height and width in pixels for a shorter side of `side` pixels; None: the input size."""
        shorter = min(self.size)
        side = shorter if side is None else side
        if side < shorter:
            raise InputError(f"resize is {side}; expected at least {shorter}, the input size of the model")
        return [round(length * side / shorter) for length in self.size]

    def normalize(self, image: Image.Image) -> Tensor:
        pixels = torch.from_numpy(np.array(image))
        pixels = pixels.unsqueeze(0) if image.mode == "L" else pixels.permute(2, 0, 1)
        values = torch.empty(
            len(self.mean), image.height, image.width
        )  # contiguous, whatever the memory layout of the pixels
        return torch.sub(pixels, self.mean, out=values).div_(self.std)


def _entry(data_config: Mapping[str, Any], key: str) -> Any:
    if key not in data_config:
        raise InputError(f"the data config lacks {key}; pass the result of timm.data.resolve_model_data_config(model)")
    return data_config[key]
