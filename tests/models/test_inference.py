"""The fast inference model against the network as trained, and which batch norms are folded."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import qcs
from qcs.models import CrossSimilarityNetwork, fast_inference_model
from qcs.models.inference import fold_batch_norm
from qcs.models.ir import IRUnit


def trained(name: str, **options: Any) -> Any:
    """A network whose running statistics are away from their start."""
    model: Any = qcs.create_model(name, **options)
    model.train()(*torch.randn(model.branches, 4, model.model_args["in_chans"], 48, 48))
    return model.eval()


@pytest.mark.parametrize("name", ["base_nano", "qcs_nano", "qcs_small"])
def test_in_float32_the_logits_are_the_same_up_to_rounding(name: str) -> None:
    model, images = trained(name, in_chans=1), torch.randn(5, 1, 48, 48)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast = fast_inference_model(model)
    with torch.inference_mode():
        assert_close(fast(images), model(images), rtol=1e-4, atol=1e-5)
    assert fast.branches == 1 and not fast.training and fast.class_names == model.class_names
    assert not any(p.requires_grad for p in fast.parameters())
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_bfloat16_changes_logits_by_little() -> None:
    model, images = trained("qcs_nano"), torch.randn(16, 3, 48, 48)
    fast = fast_inference_model(model, "bf16")
    with torch.inference_mode():
        exact, rounded = model(images), fast(images.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_a_network_made_by_hand_is_taken_too() -> None:
    model = CrossSimilarityNetwork("resnet10t", img_size=64, embed_dim=16, num_heads=2, base_depth=1).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert_close(fast_inference_model(model)(images), model(images), rtol=1e-4, atol=1e-5)


def settled(network: Any) -> Any:
    """The network in float64 with weights and running statistics of norms that are not those of a fresh one."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.double().eval()


def outputs_before_and_after(network: Any, images: Tensor) -> tuple[Any, Any, int]:
    with torch.inference_mode():
        before = network(images)
    folded = fold_batch_norm(network, images)
    with torch.inference_mode():
        return before, network(images), folded


@pytest.mark.parametrize(("channels", "stride"), [(8, 1), (8, 2), (16, 1), (16, 2)])
def test_an_ir_unit_keeps_its_leading_norm_and_folds_all_others_exactly(channels: int, stride: int) -> None:
    unit = settled(IRUnit(8, channels, stride))
    before, after, folded = outputs_before_and_after(unit, torch.randn(2, 8, 12, 12, dtype=torch.float64))
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    assert folded == (1 if channels == 8 else 2)
    kept = [name for name, module in unit.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert kept == ["norm1"]


def test_a_network_is_the_same_but_for_the_norms_that_follow_a_convolution() -> None:
    model: CrossSimilarityNetwork = settled(qcs.create_model("base_nano"))
    before, after, folded = outputs_before_and_after(model, torch.randn(3, 3, 48, 48, dtype=torch.float64))
    torch.testing.assert_close(after, before, rtol=1e-11, atol=1e-11)
    assert folded == 6  # stem, three units, two shortcuts
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 3


@pytest.mark.parametrize("name", ["resnet18", "tf_mobilenetv3_small_075"])
def test_norms_of_timm_keep_their_activation(name: str) -> None:
    network = settled(timm.create_model(name, num_classes=5))
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    before, after, folded = outputs_before_and_after(network, torch.randn(2, 3, 64, 64, dtype=torch.float64))
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    assert folded == norms > 0


class Twice(nn.Module):
    """A convolution whose result is also used without the norm, or one that runs twice."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.again = again
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        return self.norm(maps) + (self.conv(maps) if self.again else maps)


@pytest.mark.parametrize("again", [True, False])
def test_a_convolution_that_something_else_uses_too_is_left_alone(again: bool) -> None:
    network = settled(Twice(again))
    before, after, folded = outputs_before_and_after(network, torch.randn(2, 4, 6, 6, dtype=torch.float64))
    assert folded == 0
    assert torch.equal(before, after)


def test_a_norm_without_weights_folds_too() -> None:
    network = settled(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)))
    before, after, folded = outputs_before_and_after(network, torch.randn(2, 3, 6, 6, dtype=torch.float64))
    assert folded == 1
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
