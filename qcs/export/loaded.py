"""An exported file in use: its forward pass and its metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
Run = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Loaded:
    """A classifier loaded from an exported file.

    Attributes:
        run: Maps normalized images (B, C, H, W) in float32 to logits (B, classes), for any B.
        metadata: `architecture`, `class_names` in index order, `precision`; `calibration`, None without (the logits
            have its scaling `label` applied, so that a softmax gives calibrated probabilities); and the preprocessing:
            `input_size` (C, H, W), `mean` and `std` of values in [0, 1], `interpolation`, `crop_pct`, `crop_mode`;
            `mode`, Pillow's name of the color format; `resize`, height and width before the center crop; `face_crop`,
            the crop template of the training, and `landmarks`, where it places the five landmarks (x, y) in an image of
            that size; both None if unknown.
    """

    run: Run
    metadata: dict[str, Any]
