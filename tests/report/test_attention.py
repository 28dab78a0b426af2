"""Mean attention: of every face, at every level, for both networks that compare."""

from __future__ import annotations

import numpy as np
import pytest
import toy

import qcs
from qcs.report.attention import mean_attention


@pytest.mark.parametrize("name", ["dcs_nano", "qcs_nano"])
def test_each_face_has_weights_that_sum_to_one_at_every_level(name: str) -> None:
    faces = toy.splits("train")["train"].subset(range(10))
    model = qcs.create_model(name, num_classes=3)
    found = mean_attention(model, faces, [0, 3])
    assert found.shape[:2] == (3, 2)
    assert np.allclose(found.sum(2), 1, atol=1e-4)
    assert np.array_equal(found, mean_attention(model, faces, [0, 3]))
