"""What several processes computed comes together in the order of the images."""

from __future__ import annotations

import pytest
import torch

from qcs.engine.training import gathering


@pytest.mark.parametrize("images", [1, 5, 6])
def test_the_shares_of_several_processes_fall_into_place(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.arange(2.0 * images).view(images, 2)
    shares = [list(whole[rank::2].split(2)) if rank < images else [] for rank in range(2)]
    monkeypatch.setattr(gathering, "gather_object", lambda _: shares)
    assert torch.equal(gathering.in_order(shares[0]), whole)
