"""Tokens of a trained network are closer than random ones; still, products alone must give their distances."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import qcs
from qcs.data.synthetic import synthetic_faces
from qcs.ops.analytic import importance


def test_trained_tokens_are_computed_from_products_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[list[Tensor]] = []
    compute = importance.strips.importance

    def record(*arguments: Any) -> list[Tensor]:
        states.append(compute(*arguments))
        return states[-1]

    monkeypatch.setattr(importance.strips, "importance", record)
    model = qcs.create_model("qcs_small", pretrained=True).train()
    pixels = torch.from_numpy(synthetic_faces(64).images).float().mean(-1).view(4, 16, 1, 48, 48) / 255
    with torch.no_grad():
        model(*(pixels - pixels.mean()) / pixels.std())
    smallest = []
    for *_, signed, _, _, x_norms, y_norms, any_canceled in states:
        squares = signed.flatten(3).flatten(1, 2).square()
        smallest.append((squares / (x_norms[:, :, None] + y_norms[:, None])).min())
        assert not any_canceled
    assert len(smallest) == 3
    assert min(smallest) < 0.03  # closer than random tokens of as many channels ever are
