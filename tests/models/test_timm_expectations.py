"""What timm's users expect of a registered name, for every one of this library's."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from timm.layers import DropPath
from timm.models import create_feature_extractor
from torch import Tensor, nn
from torch.testing import assert_close

import qcs
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, peers

BACKBONES = ["dlib_resnet29", "ir50", "ir_nano", "ir_small"]
PEERS = sorted(name for module in peers.MODULES for name in module.default_cfgs)
BASELINE = "timm_any"  # any classifier of timm, which has no paper
NETWORKS = [name for name in qcs.list_models() if name not in (*BACKBONES, *PEERS, BASELINE)]
# The big networks take seconds for what their small siblings, of the same code, show too.
SMALL = ("nano", "small")
QUICK = [name for name in qcs.list_models() if name.endswith(SMALL) and name not in PEERS]
LARGER = ("poster_ir50", "poster_ir50_base", "mfer_convnext_base")  # of the same code as others, or of timm's
SIZES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in qcs.list_models()
    if name not in LARGER
]
BIG_ON_META = pytest.mark.parametrize("name", qcs.list_models())


def build(name: str, **options: Any) -> Any:
    """A network in evaluation mode; on the meta device it has shapes and no numbers."""
    return timm.create_model(name, **options).eval()


def inner_side(backbone: Any) -> int:
    """Side in pixels of the images inside a backbone."""
    return backbone.resize.size if hasattr(backbone, "resize") else backbone.pretrained_cfg["input_size"][-1]


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
    assert name == BASELINE or cfg["paper_ids"]


@pytest.mark.parametrize("name", [*BACKBONES, *PEERS])
def test_backbone_gives_features(name: str) -> None:
    with torch.device("meta"):
        model = build(name, features_only=True)
        maps = model(torch.empty(1, 3, 112, 112))
    info = model.feature_info
    assert [x.shape[1] for x in maps] == info.channels()
    assert len(maps) == len(info.reduction()) == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_network_says_that_its_backbone_gives_features(name: str) -> None:
    with (
        torch.device("meta"),
        pytest.raises(
            InputError, match=r"does not support features_only; call model.forward_inter.*\('.*', features_only=True"
        ),
    ):
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
    images = torch.randn(1, 3, 104, 104)
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


@pytest.mark.parametrize("name", [name for name in qcs.list_models() if name != BASELINE])
def test_network_refuses_to_be_scripted_and_says_what_to_use(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
    with pytest.raises(InputError, match=r"torch\.jit\.script cannot compile this network; use torch\.jit\.trace"):
        torch.jit.script(inference(model))


# ---------------------------------------------------------------------------------------------- levels of features


@BIG_ON_META
def test_feature_info_describes_the_intermediates(name: str) -> None:
    with torch.device("meta"):
        model = build(name)
        images = torch.empty(2, *model.pretrained_cfg["input_size"])
        maps = model.forward_intermediates(images, intermediates_only=True)
    assert [x.shape[1] for x in maps] == [level["num_chs"] for level in model.feature_info]
    inner = _side_in_the_backbone(model) if isinstance(model, CrossSimilarityNetwork) else inner_side(model)
    lost = 0.2 if "dlib" in name else 0  # convolutions without padding lose a few pixels
    reductions = [pytest.approx(level["reduction"], rel=lost) for level in model.feature_info]
    assert [inner / x.shape[-1] for x in maps] == reductions
    assert all(model.get_submodule(level["module"]) is not model for level in model.feature_info)


def _side_in_the_backbone(model: CrossSimilarityNetwork) -> int:
    side: int = (model.model_args["backbone_args"] or {}).get("resize", model.model_args["img_size"])
    return side


@pytest.mark.parametrize("name", [name for name in qcs.list_models() if name.endswith("nano")])
def test_intermediates_have_timm_s_arguments_and_values(name: str) -> None:
    model = build(name)
    arguments = signature(model.forward_intermediates).parameters
    assert list(arguments) == ["x", "indices", "norm", "stop_early", "output_fmt", "intermediates_only"]
    timms = signature(timm.create_model("test_resnet").forward_intermediates).parameters
    assert {key: value.default for key, value in arguments.items()} == {key: timms[key].default for key in arguments}
    images = faces(model)
    with torch.inference_mode():
        final, maps = model.forward_intermediates(images)
        assert torch.equal(final, model.forward_features(images))
        captured: dict[str, Tensor] = {}
        for level in model.feature_info:
            model.get_submodule(level["module"]).register_forward_hook(
                lambda *given, key=level["module"]: captured.update({key: given[-1]})
            )
        last_two = model.forward_intermediates(images, 2, intermediates_only=True)
        (second,) = model.forward_intermediates(images, [1], intermediates_only=True)
        (last,) = model.forward_intermediates(images, [-1], stop_early=True, norm=True)[1]
    assert len(maps) == len(model.feature_info)
    assert all(torch.equal(x, y) for x, y in zip(maps, captured.values(), strict=True))
    taken = [*last_two, second, last]
    assert all(torch.equal(x, y) for x, y in zip(taken, [*maps[-2:], maps[1], maps[-1]], strict=True))
    with pytest.raises(InputError, match=r"output_fmt must be one of NCHW; got 'NLC'"):
        model.forward_intermediates(images, output_fmt="NLC")
    with pytest.raises((AssertionError, InputError)):
        model.forward_intermediates(images, [7])


# -------------------------------------------------------------------------------------------- arguments timm passes


@pytest.mark.parametrize("name", ["base_nano", "qcs_nano", "qcs_any", "ir_nano"])
def test_what_timm_s_training_script_passes_is_taken(name: str) -> None:
    given = dict(drop_rate=0.0, drop_path_rate=None, drop_block_rate=None, global_pool=None, scriptable=False)
    with torch.device("meta"):
        assert timm.create_model(name, pretrained=False, num_classes=5, checkpoint_path="", **given).num_classes == 5


def dropouts(model: nn.Module) -> set[float]:
    return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}


def test_drop_rate_sets_both_classifiers_and_the_single_rates_beat_it() -> None:
    model = build("qcs_nano", drop_rate=0.3, drop_attention_projection=True)
    assert dropouts(model.base.blocks) - {0.0} == dropouts(model.distillation.classifier.blocks) - {0.0} == {0.3}
    assert (model.model_args["base_drop_rate"], model.model_args["cross_drop_rate"]) == (0.3, 0.3)
    assert "drop_rate" not in model.model_args  # one way to say it in saved weights
    model = build("qcs_nano", drop_rate=0.3, cross_drop_rate=0.1)
    assert (model.base.pos_drop.p, model.distillation.classifier.pos_drop.p) == (0.3, 0.1)


def test_drop_rate_replaces_what_a_name_sets() -> None:
    with torch.device("meta"):
        own = build("dcs_ir50.affectnet8").model_args
        model = build("dcs_ir50.affectnet8", drop_rate=0.0)
    assert (own["base_drop_rate"], own["cross_drop_rate"]) == (0.2, 0.5)
    assert dropouts(model) == {0.0}
    assert model.cross_modules[0].residual == "identity"


def drop_paths(model: nn.Module) -> list[float]:
    return [module.drop_prob for module in model.modules() if isinstance(module, DropPath)]


@pytest.mark.parametrize("name", ["ir_small", "qcs_small", "qcs_any"])
def test_drop_path_rate_grows_through_the_backbone_to_the_classifiers(name: str) -> None:
    with torch.device("meta"):
        model = build(name, drop_path_rate=0.2)
        assert drop_paths(build(name)) == []
    rates = drop_paths(getattr(model, "backbone", model))
    assert rates == sorted(rates) and rates[-1] == pytest.approx(0.2) and 0 < rates[0] < 0.1
    if isinstance(model, CrossSimilarityNetwork):
        assert set(drop_paths(model.base)) == set(drop_paths(model.distillation)) == {0.2}
        assert model.model_args["drop_path_rate"] == 0.2


def test_arguments_of_the_backbone_beat_the_common_drop_path_rate() -> None:
    model = build("base_nano", drop_path_rate=0.2, backbone_args={"drop_path_rate": 0.5})
    assert max(drop_paths(model.backbone)) == 0.5
    assert set(drop_paths(model.base)) == {0.2}
    with pytest.raises(InputError, match=r"densenet121 cannot be a backbone with .*drop_path_rate=0.1"):
        build("base_any", backbone="densenet121", img_size=64, drop_path_rate=0.1)


def test_stochastic_depth_leaves_evaluation_alone_and_changes_training() -> None:
    plain, deep = build("ir_nano"), build("ir_nano", drop_path_rate=0.9)
    deep.load_state_dict(plain.state_dict())
    images = faces(plain)
    assert torch.equal(deep(images), plain(images))
    assert not torch.equal(deep.train()(images), plain.train()(images))


@pytest.mark.parametrize("name", ["base_nano", "qcs_any", "ir_nano"])
def test_image_size_is_a_side_or_a_square_pair(name: str) -> None:
    with torch.device("meta"):
        by_side, by_pair = build(name, img_size=96), build(name, img_size=(96, 96))
        assert build(name, img_size=[96, 96]).state_dict().keys() == by_side.state_dict().keys()
    shapes = [[x.shape for x in model.state_dict().values()] for model in (by_side, by_pair)]
    assert shapes[0] == shapes[1]
    for wrong in ((96, 48), (96, 96, 96), "96", 0, (0, 0), 9.6):
        with torch.device("meta"), pytest.raises(InputError, match=r"img_size must be a side in pixels.*pair of equal"):
            build(name, img_size=wrong)


@pytest.mark.parametrize("name", ["base_nano", "qcs_nano"])
def test_global_pool_means_the_same_at_creation_and_at_reset(name: str) -> None:
    for accepted in (None, "token"):
        build(name, global_pool=accepted).reset_classifier(3, accepted)
    for refused in ("", "avg", "max"):
        with pytest.raises(InputError, match=f"global_pool must be one of token; got '{refused}'"):
            build(name, global_pool=refused)
        with pytest.raises(InputError, match=f"global_pool must be one of token; got '{refused}'"):
            build(name).reset_classifier(3, global_pool=refused)
