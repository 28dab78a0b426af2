"""The named input and a network's answers to it."""

from __future__ import annotations

import pytest
import torch

import qcs
from qcs.errors import InputError
from qcs.models.golden import check_golden, golden_images, golden_logits


def test_waves_are_the_same_numbers_on_every_machine() -> None:
    images = golden_images(3, 48)
    assert images.dtype == torch.float32 and images.abs().max() <= 2
    assert images[0, 0, 0, :2].tolist() == pytest.approx([1.0, 1.0 * 0.1305261922 + 0.9914448614], abs=1e-7)
    assert images[1, 2, 0, 0].item() == pytest.approx(0.9092974268 + 0.5403023059, abs=1e-7)  # sin 2 + cos 1


def test_waves_tell_images_and_channels_apart() -> None:
    flat = golden_images(3, 8).flatten(2).flatten(0, 1)
    assert len(torch.unique(flat, dim=0)) == 6


def test_golden_logits_are_those_of_evaluation_and_leave_the_mode_alone() -> None:
    model = qcs.create_model("base_nano")
    model(torch.randn(8, 3, 48, 48))  # running statistics away from their start
    logits = golden_logits(model, 3, 48)
    assert model.training
    with torch.no_grad():
        torch.testing.assert_close(logits, model.eval()(golden_images(3, 48)))


def test_the_right_weights_pass_and_others_are_refused() -> None:
    model, other = qcs.create_model("base_nano"), qcs.create_model("base_nano")
    logits = golden_logits(model, 3, 48).tolist()
    assert check_golden(model, logits, 3, 48) == 0
    with pytest.raises(InputError, match="golden logits differ by"):
        check_golden(other, logits, 3, 48)
    with pytest.raises(InputError, match=r"have shape \(2, 3\), this network gives \(2, 7\)"):
        check_golden(model, [[0.0] * 3] * 2, 3, 48)


def test_weights_that_are_not_numbers_are_refused() -> None:
    model = qcs.create_model("base_nano")
    logits = golden_logits(model, 3, 48).tolist()
    torch.nn.init.constant_(model.base.head.bias, torch.nan)
    with pytest.raises(InputError, match="differ by nan"):
        check_golden(model, logits, 3, 48)
