"""Averaging with the mirror image changes what it should and nothing else."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import qcs
from qcs.engine import FlipTTA, classify


def test_the_mean_of_both_probabilities() -> None:
    model = qcs.create_model("base_nano", num_classes=3).eval().double()
    images = torch.randn(4, 3, 48, 48, dtype=torch.float64)
    with torch.inference_mode():
        expected = ((model(images).softmax(-1) + model(images.flip(-1)).softmax(-1)) / 2).float()
        out = FlipTTA(model)(images)
    torch.testing.assert_close(out.exp(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(out.softmax(-1), expected, rtol=0, atol=1e-6)  # they are normalized already


class Sides(nn.Module):
    """Sure of the side that is lighter."""

    def forward(self, x: Tensor) -> Tensor:
        return 10 * torch.stack([x[..., :1].mean((1, 2, 3)), x[..., -1:].mean((1, 2, 3))], dim=1)


def test_predictions_of_image_and_flip_that_disagree_are_even() -> None:
    lighter_left = torch.zeros(1, 1, 4, 4)
    lighter_left[..., 0] = 1
    assert FlipTTA(Sides())(lighter_left).exp().flatten().tolist() == pytest.approx([0.5, 0.5])


def test_faces_are_classified_alike_with_their_mirror_images() -> None:
    torch.manual_seed(0)
    model = qcs.create_model("base_nano", num_classes=3)
    face = Image.linear_gradient("L").rotate(90)
    pair = [face, face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    plain, both = (classify(model, pair, tta=tta).probabilities.tolist() for tta in (False, True))
    assert plain[0] != plain[1]
    assert both[0] == pytest.approx(both[1], abs=1e-6)
