"""Crop the faces that maps are drawn over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.transforms import v2

from qcs.data.images import as_image
from qcs.errors import InputError


def faces_as_seen(images: Sequence[Image.Image], crop_pct: float = 1.0) -> npt.NDArray[np.uint8]:
    """Resize and center-crop images as `qcs.data.eval_transform` does, at the resolution of the largest image.

    Args:
        images: Grayscale or color images of any size.
        crop_pct: Side of the center crop relative to the resized image, as in `pretrained_cfg` of the network.

    Returns:
        RGB faces (n, S, S, 3) to draw maps over.

    Raises:
        InputError: If there is no image.

    Example:
        >>> from PIL import Image
        >>> from qcs.visualize import faces_as_seen
        >>> faces_as_seen([Image.new("L", (60, 48)), Image.new("RGB", (90, 112))]).shape
        (2, 112, 112, 3)
    """
    if not images:
        raise InputError("no face to draw: give at least one image")
    side = max(max(image.size) for image in images)
    whole = round(side / crop_pct)
    seen = v2.Compose([v2.Resize((whole, whole)), v2.CenterCrop(side)])
    return np.stack([np.asarray(seen(as_image(image).convert("RGB"))) for image in images])
