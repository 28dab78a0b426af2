"""Class-activation maps of the base network: what in a face speaks for a class, through the package `grad-cam`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork
from qcs.visualize.maps import Array


def activation_maps(model: CrossSimilarityNetwork, images: Tensor, targets: Sequence[int]) -> Array:
    """Grad-CAM of the base network, on the maps of every level that become its tokens, averaged over the levels.

    Args:
        model: Any network of this library; it is left as it is.
        images: (n, in_chans, H, W), prepared by `qcs.data.eval_transform`.
        targets: For each image the index of the class to explain.

    Returns:
        (n, H, W), in [0, 1]: each map relative to its own highest value.

    Raises:
        InputError: If the package is missing, or images and targets do not go together.

    Example:
        >>> import qcs, torch
        >>> from qcs.visualize import activation_maps
        >>> activation_maps(qcs.create_model("base_nano"), torch.randn(2, 3, 48, 48), [0, 3]).shape
        (2, 48, 48)
    """
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError as error:
        raise InputError("class-activation maps need grad-cam: pip install 'qcs[viz]'") from error
    if len(targets) != len(images) or not all(0 <= target < model.num_classes for target in targets):
        raise InputError(
            f"{len(images)} images with the targets {list(targets)}: expected one class index from 0 to "
            f"{model.num_classes - 1} for each"
        )
    network = model.inference_model().eval().requires_grad_()  # a copy: gradients are left in it
    # The maps of all levels meet on one grid, whatever the backbone; from there on there are only tokens.
    with torch.enable_grad(), GradCAM(network, list(network.tokens.embed)) as cam:
        maps: Array = cam(images, [ClassifierOutputTarget(target) for target in targets])
    return maps
