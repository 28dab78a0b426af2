"""Values and gradients of the Triton operators against the definition in float64, in Triton's interpreter."""

# ruff: noqa: N803
from __future__ import annotations

from typing import Any

import pytest
import torch
from ops.comparing import assert_as_exact, distances, values_and_gradients, weights
from torch import Tensor
from torch.testing import assert_close

LENGTHS, WIDTHS = (1, 5, 16, 49, 64, 65, 100, 196), (3, 17, 64, 768)
# All numbers of tokens at two widths, all widths below and above the 64 tokens that one program holds.
SIZES = [(N, C) for N in LENGTHS for C in WIDTHS if C in (17, 768) or N in (5, 49, 65)]
FORMS = [(m, s) for m in ("dual", "s", "d", "sd") for s in ("batch", "sample")]


def images(B: int, lengths: tuple[int, int, int, int], C: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(B, n, C).to(dtype) for n in lengths]


@pytest.mark.parametrize(("N", "C"), SIZES)
@pytest.mark.usefixtures("wide_tiles")
def test_published_form_is_exact_at_any_size(interpreted: Any, N: int, C: int) -> None:
    assert_as_exact(interpreted, weights("sd", "batch"), images(2 if N < 65 else 1, (N, N, N, N), C))


@pytest.mark.parametrize(("matrices", "scope"), FORMS)
@pytest.mark.parametrize("lengths", [(7, 7, 7, 7), (49, 5, 33, 64), (66, 5, 33, 40)])
def test_every_form_is_exact_with_launched_tiles(
    interpreted: Any, matrices: str, scope: str, lengths: tuple[int, int, int, int]
) -> None:
    assert_as_exact(interpreted, weights(matrices, scope), images(2, lengths, 19))


@pytest.mark.parametrize(("n_q", "n_k", "C"), [(1, 1, 1), (5, 33, 3), (49, 49, 70), (70, 33, 17)])
def test_distances_are_exact_at_any_size(interpreted: Any, n_q: int, n_k: int, C: int) -> None:
    assert_as_exact(interpreted, distances, [torch.randn(2, n_q, C), torch.randn(2, n_k, C)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("N", [20, 66])
def test_half_precision_loses_no_more_than_its_outputs_rounding(interpreted: Any, N: int, dtype: torch.dtype) -> None:
    for operator in (weights("sd", "batch"), distances):
        assert_as_exact(interpreted, operator, images(2, (N, N, N, N), 40, dtype), floor=torch.finfo(dtype).eps / 2)


@pytest.mark.parametrize("N", [9, 66])
def test_views_are_read_in_place_at_any_alignment(interpreted: Any, N: int) -> None:
    C = 6
    buffer = torch.randn(8 * N * 2 * C + 1)
    projected = buffer[1:].view(4, 2, N, 2 * C)  # queries and values side by side, one number off alignment
    views = list(projected[..., :C])
    for operator in (weights("sd", "sample"), distances):
        result = values_and_gradients(interpreted, operator, views)
        assert_close(result, values_and_gradients(interpreted, operator, [x.clone() for x in views]), rtol=0, atol=0)


@pytest.mark.parametrize("N", [9, 66])
def test_views_with_strided_channels_or_unlike_strides_are_copied(interpreted: Any, N: int) -> None:
    mixed = [
        torch.randn(2, 6, N).mT,
        torch.randn(2, N, 6),
        torch.randn(2, N, 12)[..., ::2],
        torch.randn(1, N, 6).expand(2, N, 6),
    ]
    for operator in (weights("sd", "batch"), distances):
        result = values_and_gradients(interpreted, operator, mixed)
        assert_close(
            result, values_and_gradients(interpreted, operator, [x.contiguous() for x in mixed]), rtol=0, atol=0
        )


@pytest.mark.parametrize("N", [9, 66])
@pytest.mark.usefixtures("nan_filled")
def test_nothing_is_read_before_it_is_written(interpreted: Any, N: int) -> None:
    tokens = images(2, (N, 5, N, 3), 5)
    for operator in (weights("sd", "batch"), weights("dual", "sample"), distances):
        assert_as_exact(interpreted, operator, tokens)


@pytest.mark.parametrize("N", [9, 66])
def test_two_runs_agree_bit_by_bit(interpreted: Any, N: int) -> None:
    tokens = images(3, (N, N, N, N), 5)
    for operator in (weights("sd", "batch"), distances):
        first, second = (values_and_gradients(interpreted, operator, tokens) for _ in range(2))
        assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("B", [1, 130])
def test_extrema_of_batches_of_any_size(interpreted: Any, B: int) -> None:
    assert_as_exact(interpreted, weights("s", "batch"), images(B, (3, 3, 3, 3), 4))


def test_addresses_beyond_32_bits(interpreted: Any) -> None:
    apart = 2**31 + 8
    buffer = torch.empty(apart + 1000, dtype=torch.bfloat16)  # memory is taken only where it is written
    wide = [torch.as_strided(buffer, (2, 9, 6), (apart, 6, 1), start) for start in (0, 60, 120, 180)]
    for x in wide:
        x.copy_(torch.randn(2, 9, 6))
    tokens = [x.clone() for x in wide]
    for operator in (weights("sd", "batch"), distances):
        with torch.no_grad():
            gain = torch.tensor(1.0)
            assert_close(operator(interpreted, wide, gain), operator(interpreted, tokens, gain), rtol=0, atol=0)


def test_small_images_take_two_launches_forward_and_two_backward(interpreted: Any, launches: list[str]) -> None:
    tokens = [x.requires_grad_() for x in images(2, (9, 9, 9, 9), 70)]
    outputs = weights("sd", "batch")(interpreted, tokens, torch.tensor(1.0, requires_grad=True))
    assert launches == ["distance_fwd_kernel", "attention_fwd_kernel"]
    launches.clear()
    torch.autograd.backward(outputs, [torch.randn_like(y) for y in outputs])
    assert launches == ["aligned_bwd_kernel", "tokens_bwd_kernel"]


def test_bytes_kept_for_many_tokens_grow_with_their_number_only(interpreted: Any) -> None:
    from qcs.ops.triton import operators

    def kept(N: int) -> int:
        tokens = [torch.empty(1, N, 4, device="meta") for _ in range(4)]
        return sum(x.numel() for x in operators._allocate(tokens, operators.Form.of("sd", "batch"))[1])

    assert kept(2048) <= 2.1 * kept(1024)
