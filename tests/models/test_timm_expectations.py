"""What timm's users expect of a registered name, for every one of this library's."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.models import create_feature_extractor
from torch import Tensor, nn
from torch.testing import assert_close

import qcs
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork

BACKBONES = ["ir50", "ir_nano", "ir_small"]
NETWORKS = [name for name in qcs.list_models() if name not in BACKBONES]
BACKBONES = ["ir50", "ir_nano", "ir_small"]
# The big networks take seconds for what their small siblings, of the same code, show too.
SIZES = [pytest.param(name, marks=() if "nano" in name else pytest.mark.slow) for name in qcs.list_models()]
BIG_ON_META = pytest.mark.parametrize("name", qcs.list_models())


def build(name: str, **options: Any) -> Any:
    """A network in evaluation mode; on the meta device it has shapes and no numbers."""
    return timm.create_model(name, **options).eval()


def faces(model: Any, count: int = 2) -> Tensor:
    return torch.randn(count, *model.pretrained_cfg["input_size"], generator=torch.Generator().manual_seed(0))


def inference(model: nn.Module) -> nn.Module:
    return model.inference_model() if isinstance(model, CrossSimilarityNetwork) else model


@BIG_ON_META
def test_configuration_says_what_timm_reads(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    assert model.default_cfg == model.pretrained_cfg
    cfg = model.pretrained_cfg
    assert cfg["architecture"] == name
    assert cfg["num_classes"] == model.num_classes == model.get_classifier().out_features
    assert model.get_submodule(cfg["first_conv"]).in_channels == cfg["input_size"][0]
    classifiers = (cfg["classifier"],) if isinstance(cfg["classifier"], str) else cfg["classifier"]
    assert model.get_submodule(classifiers[0]) is model.get_classifier()
    assert all(model.get_submodule(head).out_features == model.num_classes for head in classifiers)
    assert resolve_model_data_config(model)["input_size"] == cfg["input_size"]
    assert timm.get_pretrained_cfg(name).architecture == name
    assert cfg["paper_ids"]


@pytest.mark.parametrize("name", BACKBONES)
def test_backbone_gives_features(name: str) -> None:
    with torch.device("meta"):
        model = build(name, features_only=True)
        maps = model(torch.empty(1, 3, 112, 112))
    info = model.feature_info
    assert [x.shape[1] for x in maps] == info.channels()
    assert len(maps) == len(info.reduction()) == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_network_says_that_its_backbone_gives_features(name: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=r"gives no feature maps.*features_only=True"):
        build(name, features_only=True)


@BIG_ON_META
def test_classifier_can_be_removed_and_replaced(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
        images = torch.empty(2, *model.pretrained_cfg["input_size"])
        model.reset_classifier(0)
        assert model(images).shape == (2, model.num_features)
        assert model.num_classes == 0
        model.reset_classifier(4)
        assert model(images).shape == (2, model.num_classes) == (2, 4)


@BIG_ON_META
def test_zero_classes_at_creation_give_features(name: str) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=0)
        assert model(torch.empty(2, *model.pretrained_cfg["input_size"])).shape == (2, model.num_features)


@pytest.mark.parametrize("name", SIZES)
def test_head_of_the_features_is_the_whole(name: str) -> None:
    model = build(name)
    images = faces(model)
    with torch.inference_mode():
        features = model.forward_features(images)
        assert torch.equal(model.forward_head(features), model(images))
        assert model.forward_head(features, pre_logits=True).shape == (2, model.head_hidden_size)


@pytest.mark.parametrize("name", SIZES)
def test_channels_last_gives_the_same_logits(name: str) -> None:
    model = build(name)
    images = faces(model)
    with torch.inference_mode():
        expected = model(images)
        last = model.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    assert_close(last, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SIZES)
def test_inference_model_can_be_traced(name: str) -> None:
    model = inference(build(name))
    images = faces(model)
    with torch.no_grad():
        traced = torch.jit.trace(model, images)
        assert_close(traced(images[:1]), model(images[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_inner_features_of_a_backbone_can_be_extracted(name: str) -> None:
    model = build(name)
    images = torch.randn(1, 3, 56, 56)
    with torch.inference_mode():
        (expected,) = model.forward_intermediates(images, [1], intermediates_only=True)
        inner = create_feature_extractor(model, {"stages.1": "inner"})(images)["inner"]
    assert_close(inner, expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_refuses_to_be_traced_by_fx_and_says_what_to_use(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    for traced in (model, model.inference_model()):
        with pytest.raises(InputError, match=r"torch\.fx cannot trace this network; use forward hooks"):
            create_feature_extractor(traced, ["base.blocks.0"])


@BIG_ON_META
def test_network_refuses_to_be_scripted_and_says_what_to_use(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    with pytest.raises(InputError, match=r"torch\.jit\.script cannot compile this network; use torch\.jit\.trace"):
        torch.jit.script(inference(model))
