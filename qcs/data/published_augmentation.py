"""The augmentations of the published trainings of other methods, step by step, made of torchvision's and timm's.

Each image is changed by itself. Images of one channel are replicated to three where the network takes color.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qcs.errors import check_choice

if TYPE_CHECKING:
    from PIL import Image

    from qcs.data.dataset import Transform

NOISE = math.sqrt(30)  # standard deviation of POSTER's noise, on the scale of 0 to 255
AFFINE_ROTATION, AFFINE_SCALE, AFFINE_TRANSLATION = 20, (0.8, 1.0), (0.2, 0.2)
TRANSLATION = 117  # translation constant of Ada-DF's RandAugment, in pixels
IMAGE_MEAN = (124, 116, 104)  # the color that RandAugment fills with


@dataclass(frozen=True)
class PublishedAugmentation:
    """Settings of a published augmentation.

    The order is: resize (to `margin` times the input, then a random crop), flip or noise, flip, RandAugment, geometry,
    normalization, erasing. RandAugment precedes the flip in `rand_augment_first`.

    Args:
        flip: Probability of a horizontal flip.
        flip_or_noise: Probability of either a flip or Gaussian noise, before that flip.
        geometry: Probability of rotation and padded crop, or of the affine change, together.
        rotation: Maximum rotation in degrees, in either direction.
        padding: Black border before a random crop to the input size, as a fraction of its side.
        affine: Whether the geometry is an affine change instead: rotation by 20°, scale 0.8 to 1, translation by 0.2.
        rand_augment: timm's configuration of RandAugment; None for none.
        rand_augment_first: Whether RandAugment precedes the flip.
        margin: Side of the resized image over that of the input.
        interpolation: Interpolation of the resize; None takes that of the network.
        erasing: Smallest and largest fraction of the area that is erased; None for none.
        erasing_probability: Probability of erasing.
        erasing_noise: Whether the erased area is filled with noise for each pixel, instead of the mean.

    Example:
        >>> PUBLISHED["dan-raf_db"].rotation
        20.0
    """

    flip: float = 0.5
    flip_or_noise: float = 0.0
    geometry: float = 0.0
    rotation: float = 0.0
    padding: float = 0.0
    affine: bool = False
    rand_augment: str | None = None
    rand_augment_first: bool = False
    margin: float = 1.0
    interpolation: str | None = None
    erasing: tuple[float, float] | None = None
    erasing_probability: float = 0.5
    erasing_noise: bool = False

    def transform(self, data_config: Mapping[str, Any]) -> Transform:
        """Build the random transform of training images; it draws from torch, NumPy and `random`.

        Args:
            data_config: As for `train_transform`.

        Returns:
            A function from a grayscale or color image to a float32 tensor (C, H, W).
        """
        from torchvision.transforms import v2

        from qcs.data.transforms import ModelInput

        expected = ModelInput({**data_config, **({"interpolation": self.interpolation} if self.interpolation else {})})
        height, width = expected.size
        channels = "L" if expected.grayscale else "RGB"
        steps: list[Any] = [expected.convert, partial(_converted, mode=channels)]
        steps.append(expected.resize(round(min(height, width) * self.margin)))
        if self.margin > 1:
            steps.append(v2.RandomCrop(expected.size))
        flip = v2.RandomHorizontalFlip(self.flip)
        if self.flip_or_noise:
            either = v2.RandomChoice([v2.RandomHorizontalFlip(1.0), v2.Lambda(_with_noise)])
            steps.append(v2.RandomApply([either], self.flip_or_noise))
        mixed = [] if self.rand_augment is None else [self._rand_augment(expected.grayscale)]
        steps += [*mixed, flip] if self.rand_augment_first else [flip, *mixed]
        if self.geometry:
            steps.append(v2.RandomApply(self._geometry(expected.size), self.geometry))
        steps.append(expected.normalize)
        if self.erasing is not None:
            steps.append(self._eraser())
        pipeline: Transform = v2.Compose(steps)
        return pipeline

    def _geometry(self, size: list[int]) -> list[Any]:
        from torchvision.transforms import v2

        if self.affine:
            return [v2.RandomAffine(AFFINE_ROTATION, scale=AFFINE_SCALE, translate=AFFINE_TRANSLATION)]
        return [v2.RandomRotation(self.rotation), v2.RandomCrop(size, padding=round(min(size) * self.padding))]

    def _rand_augment(self, grayscale: bool) -> Any:
        from timm.data.auto_augment import rand_augment_transform

        mean = round(sum(IMAGE_MEAN) / 3) if grayscale else IMAGE_MEAN
        hparams = dict(translate_const=TRANSLATION, img_mean=mean)
        hparams = dict(translate_const=TRANSLATION, img_mean=mean)
        return rand_augment_transform(f"rand-{self.rand_augment}", hparams)

    def _eraser(self) -> Any:
        from timm.data.random_erasing import RandomErasing
        from torchvision.transforms import v2

        assert self.erasing is not None
        if not self.erasing_noise:
            return v2.RandomErasing(self.erasing_probability, self.erasing)
        low, high = self.erasing
        return RandomErasing(self.erasing_probability, low, high, mode="pixel", device="cpu")


def published_augmentation(name: str) -> PublishedAugmentation:
    """Return a published augmentation.

    Raises:
        InputError: If there is none of that name.
    """
    return PUBLISHED[check_choice("augmentation", name, PUBLISHED)]


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image.convert(mode)


def _with_noise(image: Image.Image) -> Image.Image:
    """Return an image with Gaussian noise, drawn for each channel of each pixel."""
    import numpy as np
    import torch
    from PIL import Image

    pixels = torch.from_numpy(np.array(image)).float()
    noisy = (pixels + NOISE * torch.randn(pixels.shape)).round().clamp(0, 255)
    return Image.fromarray(noisy.to(torch.uint8).numpy())


_DAN = PublishedAugmentation(geometry=0.2, rotation=20.0, padding=32 / 224, erasing=(0.02, 0.25))
_AFFECTNET = PublishedAugmentation(geometry=0.7, affine=True, erasing=(0.02, 0.33))
_ADA_DF: dict[str, Any] = dict(rand_augment_first=True, erasing=(0.02, 0.25))

PUBLISHED: dict[str, PublishedAugmentation] = {
    "resize": PublishedAugmentation(flip=0.0),
    "dan-raf_db": _DAN,
    "dan-affectnet": _AFFECTNET,
    "ddamfn-raf_db": PublishedAugmentation(rotation=5.0, padding=8 / 112, geometry=0.2, erasing=(0.02, 0.25)),
    "ddamfn-ferplus": PublishedAugmentation(rotation=10.0, padding=16 / 112, geometry=0.2, erasing=(0.02, 0.25)),
    "ddamfn-affectnet": _AFFECTNET,
    "ddamfn_pp-raf_db": PublishedAugmentation(rotation=5.0, padding=8 / 112, geometry=0.5, erasing=(0.02, 0.25)),
    "ddamfn_pp-affectnet": PublishedAugmentation(
        geometry=0.7, affine=True, erasing=(0.05, 0.05), erasing_probability=1.0
    ),
    "ada_df": PublishedAugmentation(rand_augment="m5-n3-mstd0.5", **_ADA_DF),
    "ada_df-sfew": PublishedAugmentation(rand_augment="m3-n5-mstd0.5", margin=256 / 224, **_ADA_DF),
    "lnsu": PublishedAugmentation(
        rand_augment="m9-mstd0.5-inc1",
        interpolation="bicubic",
        erasing=(0.02, 1 / 3),
        erasing_probability=0.25,
        erasing_noise=True,
    ),
    "poster": PublishedAugmentation(flip_or_noise=0.5, erasing=(0.02, 0.1)),
    "poster_v2-raf_db": PublishedAugmentation(erasing=(0.02, 0.1)),
    "poster_v2": PublishedAugmentation(erasing=(0.05, 0.05), erasing_probability=1.0),
    "gsdnet": _DAN,
}
"""Published augmentations by the training that they are of."""
