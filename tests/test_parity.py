"""The library computes what the original implementation computed: float64 to 1e-9, float32 to its rounding."""

from __future__ import annotations

import parity
import pytest
import torch

from qcs.functional import Backend

EXACT = 1e-9
NETWORKS = sorted(parity.NETWORKS)

# Tolerances of the golden data's README for float32 on a CPU, by part of the group's name; the first that fits counts.
# Projections of gradients, which the README does not give, have the tolerance of their norms.
SINGLE = {
    "kl_T4": 1e-4,
    "qcs_sd grad": 5e-4,
    "theta": 5e-4,
    "norms": 1e-3,
    "gradient projections": 1e-3,
    "SAM losses": 1e-3,
    "change": 3e-2,
    "": 1e-5,
}


def single_tolerance(group: str) -> float:
    """Float32 tolerance of a group."""
    return next(tolerance for part, tolerance in SINGLE.items() if part in group)


def too_far(errors: parity.Errors, dtype: torch.dtype) -> dict[str, float]:
    """Groups whose deviation exceeds what `dtype` allows."""
    assert errors
    return {
        group: error
        for group, error in errors.items()
        if not error <= (EXACT if dtype == torch.float64 else single_tolerance(group))
    }


@pytest.mark.parametrize("backend", parity.BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_operator_matches_the_original(dtype: torch.dtype, backend: Backend) -> None:
    errors = parity.kernel_errors(dtype, backend)
    assert len(errors) == 15
    assert not too_far(errors, dtype)


@pytest.mark.parametrize("wrong", [torch.tensor([1.0, torch.nan]), torch.ones(1, 2), torch.tensor([1.0, 1.1])])
def test_a_wrong_number_is_noticed(wrong: torch.Tensor) -> None:
    assert parity.relative_error(wrong, torch.ones(2)) > 0.05


def test_a_gradient_of_the_right_norm_and_wrong_direction_is_noticed() -> None:
    compare = parity.Comparison("qcs_raf_db", ("eval/grad_projection/VIT_base.norm.weight",))
    compare.projection("g", "eval/grad_projection/VIT_base.norm.weight", torch.randn(768, dtype=torch.float64))
    assert min(compare.errors().values()) > EXACT


@pytest.mark.slow
@pytest.mark.parametrize("schema", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_network_and_two_steps_of_sam_match_the_original(schema: str, dtype: torch.dtype) -> None:
    sam = schema in parity.WITH_SAM
    errors = parity.network_errors(schema, dtype, "analytic", sam=sam)
    assert any("SAM" in group for group in errors) is sam
    assert not too_far(errors, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_network_of_the_definition_matches_the_original_in_training(dtype: torch.dtype) -> None:
    """The operator does not know the mode, and the test above compares both modes of all that surrounds it."""
    assert not too_far(parity.network_errors("qcs_raf_db", dtype, "reference", modes=("train",)), dtype)
