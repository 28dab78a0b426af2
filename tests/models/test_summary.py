"""What is said of the registered networks: size, cost, weights, accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import qcs
from qcs.models import weights
from qcs.models.summary import describe_models, gmacs
from qcs.models.zoo import REPORTED_ACCURACY


def test_parameters_and_classes_are_those_of_the_network() -> None:
    (found,) = describe_models("qcs_ir50.raf_db")
    assert (found.name, found.parameters, found.inference) == ("qcs_ir50.raf_db", 66_810_513, 40_700_039)
    assert found.input_size == (3, 224, 224)
    assert found.classes == ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral")
    assert (found.weights, found.accuracy) == (None, 0.925)
    assert [s.name for s in describe_models("?cs_nano")] == ["dcs_nano.untrained", "qcs_nano.untrained"]
    assert [s.classes for s in describe_models("ir*")] == [(), (), ()]


@pytest.mark.parametrize(
    ("name", "published"), [("resnet18", 1.82), ("resnet50", 4.11), ("mobilenetv3_large_100", 0.22)]
)
def test_multiply_adds_are_counted_as_published(name: str, published: float) -> None:
    with torch.device("meta"):
        model = timm.create_model(name).eval()
    assert gmacs(model, (3, 224, 224)) == pytest.approx(published, rel=0.02)


def test_multiply_adds_of_attention_and_convolutions_are_all_counted() -> None:
    model: Any = qcs.create_model("base_nano").eval()
    counts: dict[Any, int] = {}

    def count(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        per_output = module.weight[0].numel()
        counts[module] = output.numel() * per_output

    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(count)
    model(torch.randn(1, 3, 48, 48))
    tokens, width = 3 * 36 + 1, 64
    attention = 2 * tokens * tokens * width  # queries with keys, weights with values
    assert gmacs(model, (3, 48, 48)) * 1e9 == sum(counts.values()) + attention


def test_counting_does_not_depend_on_the_device() -> None:
    with torch.device("meta"):
        on_meta = qcs.create_model("base_nano").eval()
    assert gmacs(on_meta, (3, 48, 48)) == gmacs(qcs.create_model("base_nano").eval(), (3, 48, 48))


def test_weights_are_named_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path)
    assert [s.weights for s in describe_models("base_nano")] == [None]
    (tmp_path / "base_nano.untrained.safetensors").touch()
    assert [s.weights for s in describe_models("base_nano")] == ["embedded"]


def test_reported_accuracies_belong_to_registered_names() -> None:
    assert REPORTED_ACCURACY.keys() <= set(qcs.list_models(tags=True))
    assert all(0.6 < accuracy < 0.93 for accuracy in REPORTED_ACCURACY.values())
