"""Compute class activation maps (Grad-CAM) of the base network with the package `grad-cam`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qcs.errors import InputError
from qcs.imports import require
from qcs.models import CrossSimilarityNetwork
from qcs.visualize.maps import Array, needs_tokens


def activation_maps(model: CrossSimilarityNetwork, images: Tensor, targets: Sequence[int]) -> Array:
    """Compute Grad-CAM of the base network on the feature maps that become its tokens, averaged over the levels.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017.

    Args:
        model: Any network of this library; it is not changed.
        images: (n, in_chans, H, W), prepared by `qcs.data.eval_transform`.
        targets: Index of the class to explain, for each image.

    Returns:
        (n, H, W), in [0, 1]: each map divided by its highest value.

    Raises:
        InputError: If the package is missing, or images and targets do not match.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import activation_maps
        >>> activation_maps(qcs.create_model("base_nano"), torch.randn(2, 3, 48, 48), [0, 3]).shape
        (2, 48, 48)
    """
    require("pytorch_grad_cam", extra="viz", purpose="Grad-CAM")
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    if len(targets) != len(images) or not all(0 <= target < model.num_classes for target in targets):
        raise InputError(
            f"{len(images)} images with the targets {list(targets)}: expected one class index from 0 to "
            f"{model.num_classes - 1} for each"
        )
    needs_tokens(model)
    network = model.inference_model().eval().requires_grad_()  # a copy, because gradients accumulate in it
    # These layers put the maps of all levels on one grid, for any backbone; after them there are only tokens.
    with torch.enable_grad(), GradCAM(network, list(network.tokens.embed)) as cam:
        maps: Array = cam(images, [ClassifierOutputTarget(target) for target in targets])
    return maps
