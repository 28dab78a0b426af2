"""Calibration: fits recover what distorted the probabilities, and weights files keep it however they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import qcs
from qcs.errors import InputError
from qcs.models import load_model, save_model
from qcs.models.calibration import CalibratedLogits, Calibration, Scaling, fit_scaling
from qcs.models.weights import find_weights, read_calibration, read_config, save_calibration

STATED = Calibration(Scaling((1.5,)), Scaling((0.8,)), "faces.npz", "validation", 200)


def distributions(images: int = 300, classes: int = 4) -> torch.Tensor:
    return torch.softmax(torch.randn(images, classes, generator=torch.Generator().manual_seed(0)) * 2, -1).double()


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_temperature_that_distorted_vote_shares_is_found(temperature: float) -> None:
    shares = distributions()
    found = fit_scaling(shares.log() * temperature + 3, shares)
    assert found.temperature == pytest.approx(temperature, rel=1e-4)
    torch.testing.assert_close(found(shares.log() * temperature).softmax(-1), shares, atol=1e-4, rtol=0)


def test_vector_scaling_undoes_a_scale_and_a_bias_per_class() -> None:
    shares = distributions()
    scale, bias = torch.tensor([0.5, 1.0, 2.0, 1.5]).double(), torch.tensor([1.0, -1.0, 0.5, -0.5]).double()
    # z is such that scale * log_softmax(z) + bias = log(shares): it is found if that is what a fit returns.
    wanted = (shares.log() - bias) / scale
    logits = wanted - torch.logsumexp(wanted, -1, keepdim=True)
    found = fit_scaling(logits, (logits * scale + bias).softmax(-1), "vector")
    torch.testing.assert_close(torch.tensor(found.scale), scale.float(), atol=5e-2, rtol=0)
    torch.testing.assert_close(found(logits).softmax(-1), (logits * scale + bias).softmax(-1), atol=5e-3, rtol=0)
    assert found.temperature is None


def test_a_temperature_fits_labels_at_least_as_well_as_none() -> None:
    labels = torch.nn.functional.one_hot(torch.multinomial(distributions(), 1, generator=torch.manual_seed(1))[:, 0], 4)
    logits = distributions().log() * 4  # overconfident
    found = fit_scaling(logits, labels)

    def loss(temperature: float) -> float:
        return float(-(labels * (logits / temperature).log_softmax(-1)).sum(-1).mean())

    assert found.temperature is not None
    assert all(loss(found.temperature) <= loss(found.temperature * factor) for factor in (0.9, 0.99, 1.01, 1.1))


def test_images_that_determine_nothing_are_refused() -> None:
    perfect = torch.eye(3).repeat(20, 1)
    with pytest.raises(InputError, match="no temperature scaling fits these images: the network, scaled, is right"):
        fit_scaling(perfect * 5, perfect)
    with pytest.raises(InputError, match="vector scaling needs images of every class; use temperature scaling"):
        fit_scaling(torch.randn(9, 3), torch.eye(3)[[0, 1, 0, 1, 0, 1, 0, 1, 0]], "vector")


@pytest.mark.parametrize("scaling", [Scaling((1.5,)), Scaling((1.5, 0.5, 1.0), (0.1, -0.2, 0.1))])
def test_the_layer_computes_what_the_scaling_computes(scaling: Scaling) -> None:
    logits = torch.randn(5, 3)
    torch.testing.assert_close(CalibratedLogits(scaling)(logits), scaling(logits))
    torch.testing.assert_close(scaling(logits + 7), scaling(logits))  # of probabilities, not of logits


def test_a_file_keeps_its_calibration_and_nothing_else_changes(tmp_path: Path) -> None:
    model: Any = qcs.create_model("base_nano", num_classes=3)
    path = save_model(model, tmp_path / "plain.safetensors", info={"epoch": 3})
    other = save_calibration(path, STATED, tmp_path / "other" / "calibrated.safetensors")
    assert load_model(path).calibration is None
    assert load_model(other).calibration == STATED == read_calibration(other, 3)
    assert {**read_config(other), "calibration": None} == read_config(path)
    before, after = load_file(path), load_file(other)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    assert load_model(save_model(load_model(other), tmp_path / "again.safetensors")).calibration == STATED
    assert load_model(save_calibration(other, None)).calibration is None


def test_new_classes_and_new_names_drop_the_calibration() -> None:
    model = load_model("qcs_small")
    model.calibration = STATED
    assert model.inference_model().calibration == STATED
    model.reset_classifier(3)
    assert model.calibration is None


def test_a_calibration_of_other_classes_is_refused(tmp_path: Path) -> None:
    model: Any = qcs.create_model("base_nano", num_classes=3)
    model.calibration = Calibration(Scaling((1.0, 2.0), (0.0, 0.0)), None, "faces.npz", "validation", 200)
    path = save_model(model, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="has a calibration for another number of classes than 3; fit it again"):
        load_model(path)


def test_the_weights_in_the_package_state_one_however_they_are_loaded() -> None:
    stated = load_model("qcs_small").calibration
    assert stated is not None and stated.label.temperature is not None and stated.votes is not None
    created: Any = qcs.create_model("qcs_small", pretrained=True)
    assert created.calibration == stated == read_calibration(find_weights("qcs_small"), 8)
    other: Any = qcs.create_model("qcs_small", pretrained=True, num_classes=3)
    assert other.calibration is None
