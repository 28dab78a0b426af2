"""Tokens of a trained network are closer than random ones; still, products alone must give their distances."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import qcs
from qcs.data.synthetic import synthetic_faces
from qcs.ops.analytic import attention
from qcs.ops.analytic.distance import Distances


def test_trained_tokens_are_computed_from_products_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    grids: list[Distances] = []
    compute = attention.distance_grid

    def record(rows: list[Tensor], columns: list[Tensor]) -> tuple[Tensor, ...]:
        grids.append(Distances(*compute(rows, columns)))
        return grids[-1]

    monkeypatch.setattr(attention, "distance_grid", record)
    model = qcs.create_model("qcs_small", pretrained=True).train()
    pixels = torch.from_numpy(synthetic_faces(64).images).float().mean(-1).view(4, 16, 1, 48, 48) / 255
    with torch.no_grad():
        model(*(pixels - pixels.mean()) / pixels.std())
    smallest = [(grid.distances.square() / (grid.x_norms[:, :, None] + grid.y_norms[:, None])).min() for grid in grids]
    assert len(grids) == 3
    assert min(smallest) < 0.03  # closer than random tokens of as many channels ever are
    assert not any(grid.any_canceled for grid in grids)
