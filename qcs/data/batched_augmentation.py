"""Augment a whole batch of pixel arrays of equal size at once, as `train_transform` does one image.

The random changes and their order are the same and are drawn per image. Only the order inside the color jitter is
drawn per batch, and values are rounded once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from qcs.data.color import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation, luminance
from qcs.data.transforms import Augmentation, ModelInput

ERASING_PROBABILITY = 0.5
ERASING_ASPECTS = (0.3, 3.3)  # as in torchvision's RandomErasing, which `train_transform` uses
ERASING_TRIES = 10


class BatchedAugmentation:
    """Augment pixels (B, H, W) or (B, H, W, 3), uint8, and convert them to model input (B, C, h, w), float32.

    Args:
        data_config: As for `train_transform`.
        augmentation: Settings of the random changes.

    Raises:
        InputError: As for `train_transform`.

    Example:
        >>> config = dict(input_size=(3, 48, 48), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
        >>> augment = BatchedAugmentation(config, Augmentation(resize=52, rotation=10))
        >>> augment(np.zeros((2, 48, 48), np.uint8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 48, 48])
    """

    def __init__(self, data_config: Mapping[str, Any], augmentation: Augmentation) -> None:
        self.expected = ModelInput(data_config)
        self.augmentation = augmentation
        self.sides = self.expected.resized(augmentation.resize)

    def __call__(self, pixels: npt.NDArray[np.uint8], generator: torch.Generator) -> Tensor:
        """Augment a batch; all randomness comes from `generator`."""
        x = self._convert(torch.from_numpy(pixels))
        x = self._resize(x)
        x = self._place(x, generator)
        x = self._jitter(x, generator)
        if degradation := self.augmentation.degradation:
            x = degradation(x, generator)
        x = (x.round() - self.expected.mean) / self.expected.std
        return self._erase(x, generator) if self.augmentation.erasing is not None else x

    def _convert(self, pixels: Tensor) -> Tensor:
        """Convert to float (B, 1 or 3, H, W), 0 to 255; grayscale images keep one channel until normalization."""
        if pixels.ndim == 3:
            return pixels.unsqueeze(1).float()
        x = pixels.permute(0, 3, 1, 2).float()
        return luminance(x) if self.expected.grayscale else x

    def _resize(self, x: Tensor) -> Tensor:
        if list(x.shape[2:]) == self.sides:
            return x
        mode = self.expected.interpolation.value
        smooth = mode in ("bilinear", "bicubic")
        return F.interpolate(x, self.sides, mode=mode if smooth else "nearest-exact", antialias=smooth).clamp_(0, 255)

    def _place(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Rotate, scale, stretch, crop and flip."""
        size = self.expected.size
        spare = [side - length for side, length in zip(self.sides, size, strict=True)]
        turn = (torch.rand(len(x), generator=generator) * 2 - 1) * math.radians(self.augmentation.rotation)
        corner = [torch.randint(0, s + 1, (len(x),), generator=generator) for s in spare]
        flip = torch.rand(len(x), generator=generator) < self.augmentation.flip
        scale = 1 + (torch.rand(len(x), generator=generator) * 2 - 1) * self.augmentation.scale
        wide = torch.ones(len(x))
        if self.augmentation.stretch:
            wide += (torch.rand(len(x), generator=generator) * 2 - 1) * self.augmentation.stretch
        if not any(spare) and not self.augmentation.is_affine:
            return torch.where(flip.view(-1, 1, 1, 1), x.flip(-1), x)
        return F.grid_sample(x, self._sources(turn, scale, wide, corner, flip), mode="bilinear", align_corners=False)

    def _sources(self, turn: Tensor, scale: Tensor, wide: Tensor, corner: list[Tensor], flip: Tensor) -> Tensor:
        """Return the position in the resized image of each output pixel (B, h, w, 2), -1 to 1 from edge to edge."""
        (height, width), (h, w) = self.sides, self.expected.size
        # Pixel positions in the crop, relative to the center of the resized image.
        rows = torch.arange(h) + 0.5 + corner[0].unsqueeze(1) - height / 2
        columns = torch.arange(w) + 0.5
        columns = torch.where(flip.unsqueeze(1), w - columns, columns) + corner[1].unsqueeze(1) - width / 2
        y, x = rows.unsqueeze(2), (columns / wide.unsqueeze(1)).unsqueeze(1)
        cos, sin = (f(turn).div(scale).view(-1, 1, 1) for f in (torch.cos, torch.sin))
        return torch.stack([(cos * x + sin * y) * (2 / width), (cos * y - sin * x) * (2 / height)], dim=-1)

    def _jitter(self, x: Tensor, generator: torch.Generator) -> Tensor:
        brightness, contrast, saturation, hue = self.augmentation.color_jitter
        changes: list[tuple[Callable[[Tensor, Tensor], Tensor], float]] = [
            (adjust_brightness, brightness),
            (adjust_contrast, contrast),
        ]
        if x.shape[1] == 3:  # a grayscale image has neither saturation nor hue
            changes += [(adjust_saturation, saturation), (adjust_hue, hue)]
        for index in torch.randperm(len(changes), generator=generator).tolist():
            change, most = changes[index]
            drawn = (torch.rand(len(x), 1, 1, 1, generator=generator) * 2 - 1) * most
            if most:
                x = change(x, drawn if change is adjust_hue else (1 + drawn).clamp_min_(0))
        return x

    def _erase(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Erase a rectangle in each image with probability 0.5, if one of the tries fits."""
        (h, w), (least, most) = x.shape[2:], self.augmentation.erasing or (0, 0)
        tries = len(x), ERASING_TRIES
        area = h * w * (least + (most - least) * torch.rand(tries, generator=generator))
        low, high = map(math.log, ERASING_ASPECTS)
        aspect = torch.exp(low + (high - low) * torch.rand(tries, generator=generator))
        heights, widths = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
        fits = (heights < h) & (widths < w)
        first = fits.float().argmax(1, keepdim=True)
        height, width = heights.gather(1, first), widths.gather(1, first)
        top = (torch.rand(len(x), 1, generator=generator) * (h - height + 1)).floor()
        left = (torch.rand(len(x), 1, generator=generator) * (w - width + 1)).floor()
        rows, columns = torch.arange(h).unsqueeze(0), torch.arange(w).unsqueeze(0)
        in_rows, in_columns = (rows >= top) & (rows < top + height), (columns >= left) & (columns < left + width)
        chosen = (torch.rand(len(x), generator=generator) < ERASING_PROBABILITY) & fits.any(1)
        blank = in_rows.unsqueeze(2) & in_columns.unsqueeze(1) & chosen.view(-1, 1, 1)
        return x.masked_fill_(blank.unsqueeze(1), 0.0)
