"""The network made fast for inference against the network as trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

import qcs
from qcs.models import CrossSimilarityNetwork, fast_inference_model


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
