"""Feature extractors of timm's models: what a dry run measures of them, and what is kept of their arguments."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from timm.models._manipulate import group_parameters
from torch import nn

from qcs.errors import InputError
from qcs.models.backbone import (
    backbone_cfg,
    build_backbone,
    checked_args,
    feature_maps,
    layer_order,
    measure,
    sizes_near,
    without_sources,
)

EXTRACTORS = {  # one of each of timm's ways to give features, and of both orders of dimensions
    "list": ("test_resnet", 75),
    "own class": ("test_efficientnet", 75),
    "hooks": ("xception41", 75),
    "getter": ("test_vit", 80),
    "channels last": ("mambaout_femto", 75),
    "rounding down": ("test_convnext", 75),
}


@pytest.mark.parametrize(("name", "side"), EXTRACTORS.values(), ids=EXTRACTORS)
def test_levels_are_those_of_real_images(name: str, side: int) -> None:
    backbone = build_backbone(name, img_size=side)
    with torch.no_grad():
        maps = feature_maps(backbone.extractor.eval(), torch.randn(2, 3, side, side))
    assert [tuple(x.shape) for x in maps] == [(2, c, s, s) for c, s in backbone.levels]
    assert [level.channels for level in backbone.levels] == backbone.extractor.feature_info.channels()
    assert (backbone.side, backbone.resizes) == (side, False)


def test_last_three_levels_are_taken_unless_others_are_asked_for() -> None:
    assert [level.side for level in build_backbone("test_resnet", img_size=64).levels] == [8, 4, 2]
    args = {"out_indices": [0, 1, 4]}
    assert [level.side for level in build_backbone("test_resnet", img_size=64, args=args).levels] == [32, 16, 2]


def test_a_dry_run_changes_nothing() -> None:
    extractor = timm.create_model("test_resnet", features_only=True)
    before = {key: value.clone() for key, value in extractor.state_dict().items()}
    random = torch.get_rng_state()
    measure(extractor, 3, 64)
    assert extractor.training
    assert all(torch.equal(value, before[key]) for key, value in extractor.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in extractor.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_dry_run_works_where_gradients_are_off() -> None:
    with torch.inference_mode():
        assert build_backbone("test_resnet", img_size=64).levels[-1].side == 2
    with torch.no_grad():
        assert build_backbone("test_resnet", img_size=64).levels[-1].side == 2


def test_parameters_that_no_level_depends_on_are_frozen() -> None:
    extractor = build_backbone("hrnet_w18_small", img_size=64).extractor
    frozen = {name for name, p in extractor.named_parameters() if not p.requires_grad}
    assert frozen
    maps = extractor(torch.randn(2, 3, 64, 64))
    sum(x.square().sum() for x in maps).backward()
    assert {name for name, p in extractor.named_parameters() if p.grad is None} == frozen


class Doubled(nn.Module):
    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, x[..., :-1, :]]


def test_maps_that_are_not_square_are_no_levels() -> None:
    with pytest.raises(ValueError, match=r"maps of shape \(1, 3, 8, 8\), \(1, 3, 7, 8\), expected square ones"):
        measure(Doubled(), 3, 8)


@pytest.mark.parametrize(
    ("name", "side", "grid", "expected"),
    [
        ("test_resnet", 100, None, [96, 128]),
        ("test_resnet", 100, 3, [96, 192]),
        ("test_vit", 100, 7, [112]),
        ("test_vit", 1, None, [16]),
    ],
)
def test_sizes_near_by_are_ones_that_work(name: str, side: int, grid: int | None, expected: list[int]) -> None:
    assert sizes_near(name, side, grid, None) == expected


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit", "ir_nano"])
def test_layers_are_those_that_timm_groups_the_model_in(name: str) -> None:
    model = timm.create_model(name)
    expected = group_parameters(model, model.group_matcher(), reverse=True)
    order = layer_order(name, None, coarse=False)
    extractor = build_backbone(name).extractor
    for key, _ in extractor.named_parameters():
        whole = key.removeprefix("model.")
        assert order[whole] == expected.get(whole, expected.get(whole.replace("_", ".", 1)))


def test_a_model_that_groups_nothing_is_cut_into_layers() -> None:
    assert not hasattr(timm.create_model("poolformer_s12"), "group_matcher")
    order = layer_order("poolformer_s12", None, coarse=False)
    extractor = build_backbone("poolformer_s12", img_size=64).extractor
    layers = [order[key] for key, _ in extractor.named_parameters()]
    assert layers == sorted(layers)
    assert len(set(layers)) > 3


def test_where_weights_lie_is_not_kept() -> None:
    args: dict[str, Any] = {
        "drop_path_rate": 0.1,
        "pretrained_cfg": "a1_in1k",
        "pretrained_cfg_overlay": {"file": "x.safetensors", "hf_hub_id": "a/b", "url": "c", "mean": [0.5]},
        "cache_dir": "somewhere",
    }
    kept = {"drop_path_rate": 0.1, "pretrained_cfg": "a1_in1k", "pretrained_cfg_overlay": {"mean": [0.5]}}
    assert without_sources(args) == kept
    assert without_sources(None) is None


@pytest.mark.parametrize("name", ["pretrained", "features_only", "in_chans", "img_size", "checkpoint_path"])
def test_arguments_that_are_the_network_s_own_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"backbone_args may not hold {name}: use the network's own"):
        checked_args({name: 1})


def test_tag_and_overlay_decide_the_metadata() -> None:
    assert backbone_cfg("resnet18").interpolation == "bicubic"
    assert backbone_cfg("resnet18.tv_in1k").interpolation == "bilinear"
    assert backbone_cfg("resnet18", {"pretrained_cfg": "tv_in1k"}).interpolation == "bilinear"
    assert backbone_cfg("resnet18", {"pretrained_cfg_overlay": {"input_size": (3, 96, 96)}}).input_size == (3, 96, 96)


def test_a_backbone_made_for_oblong_images_needs_a_size() -> None:
    args = {"pretrained_cfg_overlay": {"input_size": (3, 64, 96)}}
    with pytest.raises(InputError, match="test_resnet takes images of 64 x 96 pixels by default; choose a square with"):
        build_backbone("test_resnet", args=args)
    assert build_backbone("test_resnet", img_size=64, args=args).side == 64


def test_levels_are_measured_in_anomaly_mode_too() -> None:
    with torch.autograd.detect_anomaly():
        assert len(build_backbone("ir_nano", img_size=48).levels) == 3
