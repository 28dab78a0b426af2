"""Class-activation maps: of the base network, for the class asked for, leaving the network as it was."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

import qcs
from qcs.errors import InputError
from qcs.visualize import activation_maps

pytest.importorskip("pytorch_grad_cam")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("qcs_nano", {}), ("base_any", dict(backbone="mobilenetv3_small_050", img_size=64, embed_dim=32))],
)
def test_maps_are_of_the_size_of_the_images_and_relative_to_their_highest(name: str, arguments: dict[str, Any]) -> None:
    model = qcs.create_model(name, **arguments).eval()
    side = arguments.get("img_size", 48)
    maps = activation_maps(model, torch.randn(3, 3, side, side), [0, 1, 6])
    assert maps.shape == (3, side, side)
    assert maps.min() >= 0 and maps.max() <= 1
    assert maps.max((1, 2)) == pytest.approx(np.ones(3), abs=0.2)  # the highest of a level, averaged over levels


def test_a_map_is_the_gradient_weighted_sum_of_the_level_maps() -> None:
    model = qcs.create_model("base_nano").eval()
    image = torch.randn(1, 3, 48, 48)
    kept = []
    for embed in model.tokens.embed:
        embed.register_forward_hook(lambda module, given, out: kept.append(out))
    model(image)[0, 4].backward(inputs=kept)
    expected = []
    for level in kept:
        weighted = (level.grad.mean((2, 3), keepdim=True) * level.detach()).sum(1).relu().numpy()
        expected.append((weighted - weighted.min()) / (weighted.max() - weighted.min()))
    maps = activation_maps(model, image, [4])
    coarse = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(maps), 6).numpy()
    assert np.corrcoef(coarse.ravel(), np.mean(expected, axis=0).ravel())[0, 1] > 0.95


def test_the_network_is_left_as_it_was() -> None:
    model = qcs.create_model("dcs_nano").train()
    model.freeze_backbone()
    activation_maps(model, torch.randn(1, 3, 48, 48), [2])
    assert model.training
    assert not next(model.backbone.parameters()).requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = qcs.create_model("base_nano"), torch.randn(2, 3, 48, 48)
    for targets in ([0], [0, 7]):
        with pytest.raises(InputError, match="expected one class index from 0 to 6 for each"):
            activation_maps(model, images, targets)
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(InputError, match=r"Grad-CAM needs grad-cam; run: pip install 'qcs-fer\[viz\]'"):
        activation_maps(model, images, [0, 1])
