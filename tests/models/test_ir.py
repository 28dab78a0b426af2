"""The IR backbones: their units by formula, their shapes, and timm's conventions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from timm.models._manipulate import group_parameters
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

import qcs
from qcs.errors import InputError
from qcs.models import IRNet
from qcs.models.ir import IRUnit

FACES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


def nano(**options: Any) -> IRNet:
    model = timm.create_model("ir_nano", **options)
    assert isinstance(model, IRNet)
    return model


def normed(x: Tensor, norm: Any) -> Tensor:
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("out_chs", [4, 6])
def test_unit_is_its_formula(out_chs: int, stride: int) -> None:
    unit, x = IRUnit(4, out_chs, stride).eval(), torch.randn(2, 4, 8, 8)
    for tensor in unit.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))
    y = F.conv2d(normed(x, unit.norm1), unit.conv1.weight, padding=1)
    y = torch.where(y > 0, y, y * unit.act.weight[:, None, None])
    y = normed(F.conv2d(y, unit.conv2.weight, stride=stride, padding=1), unit.norm2)
    shortcut = x[..., ::stride, ::stride]
    if out_chs != 4:
        shortcut = normed(F.conv2d(shortcut, unit.shortcut.conv.weight), unit.shortcut.norm)
    assert_close(unit(x), shortcut + y)


def test_ir50_has_the_published_stages() -> None:
    with torch.device("meta"):
        model = timm.create_model("ir50")
    assert [len(stage) for stage in model.stages] == [3, 4, 14]
    assert [[unit.conv2.out_channels for unit in stage] for stage in model.stages] == [[64] * 3, [128] * 4, [256] * 14]
    assert [[unit.conv2.stride[0] for unit in stage] for stage in model.stages] == [[2] + [1] * n for n in (2, 3, 13)]
    assert [[unit.act.num_parameters for unit in stage] for stage in model.stages] == [[64] * 3, [128] * 4, [256] * 14]
    assert (model.stem.conv.stride, model.stem.act.num_parameters) == ((1, 1), 64)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert all(conv.bias is None for conv in convolutions)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.eps, module.momentum) == (1e-5, 0.1)


@pytest.mark.parametrize("out_indices", [None, (0,), (1, 2), (0, 1, 2), (-1,)], ids=str)
def test_ir50_gives_the_feature_maps_asked_for(out_indices: tuple[int, ...] | None) -> None:
    options = {} if out_indices is None else {"out_indices": out_indices}
    with torch.device("meta"):
        model = timm.create_model("ir50", features_only=True, **options)
        maps = model(torch.empty(1, 3, 224, 224))
    shapes = [(64, 56, 56), (128, 28, 28), (256, 14, 14)]
    chosen = [shapes[i] for i in out_indices or (0, 1, 2)]
    assert [tuple(x.shape[1:]) for x in maps] == chosen
    assert model.feature_info.channels() == [channels for channels, _, _ in chosen]
    assert [112 // reduction for reduction in model.feature_info.reduction()] == [side for _, side, _ in chosen]


def test_feature_maps_are_those_of_the_classifier() -> None:
    model = nano().eval()
    features = timm.create_model("ir_nano", features_only=True).eval()
    features.load_state_dict({f"model.{k}": v for k, v in model.state_dict().items() if not k.startswith("head")})
    maps = features(FACES)
    assert [tuple(x.shape[1:]) for x in maps] == [(32, 12, 12), (64, 12, 12), (128, 6, 6)]
    assert_close(maps[-1], model.forward_features(FACES))
    assert_close(model(FACES), maps[-1].mean((2, 3)) @ model.head.fc.weight.T + model.head.fc.bias)


def test_intermediates_follow_timm() -> None:
    model = nano().eval()
    last, maps = model.forward_intermediates(FACES)
    assert len(maps) == 3
    assert last is maps[2]
    taken = model.forward_intermediates(FACES, indices=[0, 1], intermediates_only=True)
    assert_close(taken, maps[:2])
    assert_close(model.forward_intermediates(FACES, indices=[0], stop_early=True), (maps[0], maps[:1]))
    with pytest.raises(InputError, match="output_fmt must be one of NCHW; got 'NLC'"):
        model.forward_intermediates(FACES, output_fmt="NLC")


def test_images_of_another_size_are_resized_by_nearest_neighbor() -> None:
    model = nano().eval()
    larger = torch.randn(2, 3, 96, 144)
    assert torch.equal(model.resize(larger), larger[..., ::2, ::3])
    assert model.resize(FACES) is FACES


def test_inner_size_is_timm_s_fixed_input_size() -> None:
    for name, side in (("ir50", 112), ("ir_nano", 48)):
        with torch.device("meta"):
            assert timm.create_model(name).resize.size == side
            assert timm.create_model(name, img_size=64).resize.size == 64
        assert timm.get_pretrained_cfg(name).fixed_input_size


def test_head_follows_timm() -> None:
    model = nano(num_classes=5).eval()
    assert model(FACES).shape == (2, 5)
    assert model.get_classifier().out_features == 5
    features = model.forward_features(FACES)
    assert_close(model.forward_head(features, pre_logits=True), features.mean((2, 3)))
    model.reset_classifier(3)
    assert (model.num_classes, model(FACES).shape) == (3, (2, 3))
    model.reset_classifier(0)
    assert_close(model(FACES), features.mean((2, 3)))
    assert nano(num_classes=0)(FACES).shape == (2, model.num_features)


def test_grayscale_images_pass() -> None:
    assert nano(in_chans=1)(FACES[:, :1]).shape == (2, 7)


def test_parameters_are_grouped_from_input_to_output() -> None:
    model = nano()
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert groups["stem.conv.weight"] == 0
    assert groups["stages.0.0.conv1.weight"] < groups["stages.2.0.conv1.weight"] < groups["head.fc.weight"]


def test_checkpointing_changes_neither_gradients_nor_running_statistics() -> None:
    model = nano().double()
    plain = copy.deepcopy(model)
    model.set_grad_checkpointing()
    for network in (plain, model):
        network(FACES.double()).square().sum().backward()
    assert_close([p.grad for p in model.parameters()], [p.grad for p in plain.parameters()])
    assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert model.stem.norm.num_batches_tracked == 1
    assert {norm.momentum for norm in model.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.1}


def test_names_are_those_of_the_library_too() -> None:
    assert qcs.list_models("ir*") == timm.list_models("ir*", module="ir") == ["ir50", "ir_nano", "ir_small"]
