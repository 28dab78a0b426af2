"""Tokens of several levels: their order, and how far each map is halved."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from qcs.errors import InputError
from qcs.layers import LevelTokens
from qcs.layers.level_tokens import common_grid, halvings


def test_tokens_run_level_by_level_and_row_by_row() -> None:
    tokens, maps = LevelTokens([4, 4], [3, 3], grid_size=3, dim=4), torch.randn(2, 2, 4, 3, 3)
    for embed in tokens.embed:
        nn.init.dirac_(embed[0].weight)
        nn.init.zeros_(embed[0].bias)
    out = tokens(list(maps))
    for level in range(2):
        for row in range(3):
            for column in range(3):
                assert torch.equal(out[:, 9 * level + 3 * row + column], maps[level][:, :, row, column])


@pytest.mark.parametrize(
    ("side", "reduced", "embedded"),
    [
        (7, None, [(1, 1, 8, 32)]),
        (14, (3, 2, 8, 8), [(1, 1, 8, 32)]),
        (28, (3, 2, 8, 8), [(3, 2, 8, 32)]),
        (56, (3, 2, 8, 8), [(3, 2, 8, 32), (3, 2, 32, 32)]),
    ],
)
def test_a_map_is_halved_to_the_grid_widening_after_the_first_time(
    side: int, reduced: tuple[int, ...] | None, embedded: list[tuple[int, ...]]
) -> None:
    def describe(conv: nn.Conv2d) -> tuple[int, ...]:
        assert conv.bias is not None
        return conv.kernel_size[0], conv.stride[0], conv.in_channels, conv.out_channels

    tokens, x = LevelTokens([8], [side], grid_size=7, dim=32), torch.randn(2, 8, side, side)
    convolutions = [m for m in (tokens.reduce[0], *tokens.embed[0]) if isinstance(m, nn.Conv2d)]
    expected = ([reduced] if reduced else []) + embedded
    assert [describe(conv) for conv in convolutions] == expected
    out = tokens([x])
    for conv in convolutions:
        x = F.conv2d(x, conv.weight, conv.bias, stride=conv.stride, padding=conv.kernel_size[0] // 2)
    assert_close(out, x.flatten(2).mT)


@pytest.mark.parametrize("side", [3, 10, 21, 13])
def test_a_map_that_cannot_be_halved_to_the_grid_is_refused(side: int) -> None:
    with pytest.raises(InputError, match=f"a feature map of side {side} cannot be halved to a grid of side 7"):
        LevelTokens([8], [side], grid_size=7, dim=32)


@pytest.mark.parametrize(
    ("sides", "grid"),
    [([28, 14, 7], 7), ([56, 28, 14], 7), ([8, 8, 8], 8), ([32, 16], 8), ([37, 37], 37), ([8, 4, 2], 2)],
)
def test_grid_is_the_smallest_side_halved_while_it_is_even_and_above_8(sides: list[int], grid: int) -> None:
    assert common_grid(sides) == grid


@pytest.mark.parametrize(
    ("side", "grid", "times"), [(7, 7, 0), (28, 7, 2), (21, 7, None), (3, 7, None), (4, 0, None), (4, -2, None)]
)
def test_halvings_count_the_way_to_the_grid(side: int, grid: int, times: int | None) -> None:
    assert halvings(side, grid) == times
