"""Low light, blur and noise: each within its amount, for a quarter of the images, all randomness from the generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.transforms.v2 import functional as TF

from qcs.data.degradation import Degradation, _blurred


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def degraded(values: Tensor, **amounts: float) -> Tensor:
    return Degradation(**amounts)(values, generator())


def test_low_light_takes_up_to_its_fraction_from_a_quarter_of_the_images() -> None:
    out = degraded(torch.full((4000, 1, 2, 2), 200.0), low_light=0.8)
    darker = out[:, 0, 0, 0] < 200
    assert 0.22 < darker.float().mean() < 0.28
    assert 40 <= out.min() < 45 and out[darker].max() > 195


def test_noise_has_up_to_its_standard_deviation() -> None:
    out = degraded(torch.full((400, 1, 40, 40), 128.0), noise=20.0)
    deviations = out.std((1, 2, 3))
    noisy = deviations > 0
    assert 0.2 < noisy.float().mean() < 0.3
    assert 18 < deviations.max() < 21 and (out[noisy].mean((1, 2, 3)) - 128).abs().max() < 3


@pytest.mark.parametrize("sigma", [0.4, 1.5])
def test_blur_is_torchvisions(sigma: float) -> None:
    x = torch.rand(3, 2, 20, 20, generator=generator())
    radius = max(1, -(-3 * 1.5 // 1))
    out = _blurred(x, torch.tensor([sigma, 1.5, 0.2]).view(-1, 1, 1, 1), None)
    size = [int(2 * radius + 1)] * 2
    inner = (..., slice(6, -6), slice(6, -6))  # torchvision mirrors at the edges, which repeat here
    assert_close(out[0][inner], TF.gaussian_blur(x[0], size, [sigma] * 2)[inner], rtol=0, atol=1e-5)


def test_blur_keeps_flat_images_and_their_edges() -> None:
    flat = torch.full((8, 3, 12, 12), 77.0)
    assert_close(degraded(flat, blur=2.0), flat)


def test_values_stay_in_their_range_and_the_input_as_it_is() -> None:
    x = 255 * torch.rand(40, 1, 8, 8, generator=generator()).round()
    kept = x.clone()
    out = degraded(x, noise=200.0, low_light=0.5, blur=1.0)
    assert out.min() >= 0 and out.max() <= 255 and torch.equal(x, kept) and not torch.equal(out, x)


def test_without_amounts_it_is_off() -> None:
    assert not Degradation() and Degradation(noise=1.0)
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(Degradation()(x, generator()), x)
