"""PReLU with a gradient of its own against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from qcs.layers import PReLU


def values(kind: type[nn.PReLU], dtype: torch.dtype, shape: tuple[int, ...]) -> list[Tensor]:
    """Output and gradients of images and slopes, for a random upstream gradient."""
    generator = torch.Generator().manual_seed(0)
    layer = kind(shape[1])
    nn.init.uniform_(layer.weight, -0.5, 0.5, generator=generator)
    layer.to(dtype)
    x = torch.randn(shape, generator=generator).to(dtype).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    y = layer(x)
    y.backward(torch.randn(shape, generator=generator).to(dtype))
    return [y, x.grad, layer.weight.grad]


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (4, 16, 6, 6)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients_are_those_of_pytorch(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    assert_close(values(PReLU, dtype, shape), values(nn.PReLU, dtype, shape))


def test_at_zero_the_gradient_is_that_of_the_negative_side() -> None:
    for kind in (PReLU, nn.PReLU):
        layer, x = kind(1), torch.zeros(1, 1, 1, 1, requires_grad=True)
        layer(x).sum().backward()
        assert x.grad is not None and x.grad.item() == 0.25


def test_bfloat16_slopes_are_summed_in_single_precision() -> None:
    shape = (8, 2, 64, 64)
    exact = values(nn.PReLU, torch.float64, shape)
    rounded = values(PReLU, torch.bfloat16, shape)
    # Its own rounding of the products, not that of a running sum of 32,768 of them.
    assert_close(rounded[2].double(), exact[2], rtol=0.01, atol=0.5)


def test_gradients_and_their_gradients_pass_gradcheck() -> None:
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    x = (x + 0.1 * x.sign()).requires_grad_()
    layer = PReLU(3).double()
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_under_autocast_the_slope_stays_in_its_own_precision() -> None:
    layer = PReLU(2)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(torch.randn(1, 2, 3, 3).bfloat16())
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32


def test_torch_func_takes_it() -> None:
    layer, x = PReLU(3), torch.randn(2, 3, 4, 4)
    gradient = torch.func.grad(lambda images: layer(images).square().sum())(x)
    expected = torch.where(x > 0, 2 * x, 2 * 0.25**2 * x)
    assert_close(gradient, expected)


def test_compiled_it_has_the_same_gradients() -> None:
    layer, x = PReLU(3), torch.randn(2, 3, 4, 4)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    gradients = []
    for run in (layer, compiled):
        images = x.clone().requires_grad_()
        layer.zero_grad()
        run(images).square().sum().backward()
        gradients.append([images.grad, layer.weight.grad.clone()])
    assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5)])
def test_other_shapes_are_pytorchs(shape: tuple[int, ...]) -> None:
    layer, x = PReLU(3), torch.randn(shape, requires_grad=True)
    layer(x).sum().backward()
    assert_close(x.grad, torch.where(x > 0, 1.0, 0.25))
