"""The networks on backbones of many families: forward and backward passes, weights, layer groups, export."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.testing import assert_close

import qcs
from qcs.errors import InputError
from qcs.losses import JointLoss
from qcs.models import BranchLogits, CrossSimilarityNetwork, save_model
from qcs.models.weights import read_config

DOCUMENT = Path(__file__).parents[2] / "docs" / "backbones.md"
FAMILIES = {
    "ResNet": "resnet18",
    "ResNeXt": "resnext26ts",
    "ConvNeXt": "convnext_atto",
    "EfficientNet": "efficientnet_b0",
    "MobileNetV3": "mobilenetv3_small_050",
    "RegNet": "regnety_002",
    "Swin": "swin_tiny_patch4_window7_224",
    "ViT": "vit_tiny_patch16_224",
    "EdgeNeXt": "edgenext_xx_small",
    "FastViT": "fastvit_t8",
    "HRNet": "hrnet_w18_small",
    "DenseNet": "densenet121",
}
SIDE = 64
SMALL: dict[str, Any] = dict(img_size=SIDE, num_classes=3, embed_dim=16, base_depth=1, num_heads=2, mlp_ratio=1.0)


def build(name: str = "qcs_any", **options: Any) -> CrossSimilarityNetwork:
    model = qcs.create_model(name, **{**SMALL, **options})
    assert isinstance(model, CrossSimilarityNetwork)
    return model


def faces(branches: int = 4, channels: int = 3, side: int = SIDE) -> Tensor:
    return torch.randn(branches, 2, channels, side, side, generator=torch.Generator().manual_seed(1))


def train_one_step(model: CrossSimilarityNetwork, images: Tensor) -> Tensor:
    """Loss before the step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    labels = torch.tensor([0, 1]).expand(len(images), -1)
    out = model.train()(*images)
    loss: Tensor = JointLoss()(out if isinstance(out, BranchLogits) else BranchLogits(out[None], None), labels)["loss"]
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.fixture(scope="module", params=FAMILIES)
def network(request: pytest.FixtureRequest) -> CrossSimilarityNetwork:
    """A quadruplet network on the backbone of a family."""
    torch.manual_seed(0)
    return build(backbone=FAMILIES[request.param])


# ------------------------------------------------------------------------------------------------------ every family


def test_single_images_and_quadruplets_are_classified(network: CrossSimilarityNetwork) -> None:
    network.eval()
    images = faces()
    out = network(*images, return_attention=True)
    grid = network.model_args["grid_size"]
    assert (out.base.shape, out.cross.shape) == ((4, 2, 3), (4, 2, 3))
    assert out.attention.shape == (3, 4, 2, grid**2)
    assert_close(out.base[0], network(images[0]), rtol=1e-4, atol=1e-5)


def test_one_step_gives_every_trained_parameter_a_finite_gradient(network: CrossSimilarityNetwork) -> None:
    assert train_one_step(network, faces()).isfinite()
    network.zero_grad()
    train_one_step(network, faces())  # some residual branches are multiplied by 0 until the first step
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None or not p.grad.isfinite().all()] == []
    assert [name for name, p in trained.items() if not p.grad.any()] == []
    still = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    assert still < 0.01 * sum(p.numel() for p in network.parameters())


def test_weights_files_rebuild_the_network(network: CrossSimilarityNetwork, tmp_path: Path) -> None:
    again = qcs.load_model(save_model(network, tmp_path / "weights.safetensors"))
    images = faces()[0]
    assert torch.equal(again(images), network.eval()(images))
    assert again.model_args == network.model_args
    assert again.pretrained_cfg == network.pretrained_cfg


def test_learning_rates_grow_from_the_stem_to_the_heads(network: CrossSimilarityNetwork) -> None:
    groups = param_groups_layer_decay(network, weight_decay=0.0, layer_decay=0.5)
    scales = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    by_name = {name: scales[id(p)] for name, p in network.named_parameters() if p.requires_grad}
    backbone = [scale for name, scale in by_name.items() if name.startswith("backbone.")]
    first_conv = by_name[f"{network.pretrained_cfg['first_conv']}.weight"]
    assert first_conv == min(backbone) == min(by_name.values())
    assert max(backbone) < by_name["tokens.embed.0.0.weight"] < by_name["base.blocks.0.attn.qkv.weight"]
    assert by_name["base.blocks.0.attn.qkv.weight"] < by_name["base.head.weight"] == 1
    assert {scale for name, scale in by_name.items() if name.startswith(("cross_modules.", "distillation."))} == {1.0}
    assert len(set(backbone)) >= 4


@pytest.mark.slow
def test_inference_model_is_exported_with_a_dynamic_batch(network: CrossSimilarityNetwork) -> None:
    model = network.inference_model().eval()
    exported = torch.export.export(model, (faces()[0],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    three = faces(3).flatten(0, 1)[:3]
    assert_close(exported.module()(three), model(three), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(
    ("name", "options"), [("dcs_any", {"attention": "sdpa"}), ("dcs_any", {}), ("base_any", {})], ids=str
)
def test_pairs_and_single_images_train_too(name: str, options: dict[str, Any]) -> None:
    model = build(name, backbone="test_resnet", **options)
    train_one_step(model, faces(model.branches))
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_default_is_a_resnet_of_its_own_image_size() -> None:
    with torch.device("meta"):
        model: Any = qcs.create_model("qcs_any")
    args = model.model_args
    assert (args["backbone"], args["img_size"], args["grid_size"], args["embed_dim"]) == ("resnet18", 224, 7, 256)
    assert model.pretrained_cfg["input_size"] == (3, 224, 224)


def test_preprocessing_is_that_of_the_backbone() -> None:
    cfg = timm.models.get_pretrained_cfg("vit_tiny_patch16_224")
    model = build(backbone="vit_tiny_patch16_224")
    own = {key: model.pretrained_cfg[key] for key in ("input_size", "mean", "std", "interpolation")}
    assert own == dict(input_size=(3, SIDE, SIDE), mean=cfg.mean, std=cfg.std, interpolation=cfg.interpolation)
    assert cfg.mean == (0.5, 0.5, 0.5)
    grayscale = build(backbone="vit_tiny_patch16_224", in_chans=1).pretrained_cfg
    assert (grayscale["input_size"], grayscale["mean"]) == ((1, SIDE, SIDE), (0.5,))


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "mobilenetv3_small_050"])
def test_grayscale_images_pass(backbone: str) -> None:
    model = build(backbone=backbone, in_chans=1)
    assert model(*faces(channels=1)).cross.shape == (4, 2, 3)


def test_own_backbones_resample_images_of_any_size() -> None:
    model = build(backbone="ir_nano", img_size=None).eval()
    assert model.model_args["grid_size"] == 6
    assert model(faces(side=80)[0]).shape == (2, 3)


def test_arguments_of_the_backbone_reach_it_and_are_saved(tmp_path: Path) -> None:
    args = {"out_indices": [0, 2, 5], "drop_path_rate": 0.3}
    model = build(backbone="test_vit", backbone_args=args)
    assert list(model.backbone.out_indices) == [0, 2, 5]
    assert model.backbone.model.blocks[5].drop_path1.drop_prob == pytest.approx(0.3)
    again = qcs.load_model(save_model(model, tmp_path / "weights.safetensors"))
    assert again.model_args["backbone_args"] == args
    assert torch.equal(again(faces()[0]), model.eval()(faces()[0]))


def test_four_levels_are_compared_as_three_are() -> None:
    model = build(backbone="test_resnet", backbone_args={"out_indices": (1, 2, 3, 4)})
    out = model(*faces(), return_attention=True)
    assert len(model.cross_modules) == len(out.attention) == 4


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_efficientnet"])
def test_activations_can_be_recomputed(backbone: str) -> None:
    torch.manual_seed(0)
    model = build(backbone=backbone)
    plain = train_one_step(model, faces())
    gradients = [p.grad.clone() for p in model.parameters()]
    torch.manual_seed(0)
    model = build(backbone=backbone)
    model.set_grad_checkpointing()
    assert_close(train_one_step(model, faces()), plain)
    assert_close([p.grad for p in model.parameters()], gradients)


# -------------------------------------------------------------------------------------------------- pretrained weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a whole classifier, as timm's files hold them."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def from_file(path: Path) -> dict[str, Any]:
    return dict(pretrained_backbone=True, backbone_args={"pretrained_cfg_overlay": {"file": str(path)}})


def test_weights_of_the_backbone_are_loaded_and_where_from_is_not_saved(weights: Path, tmp_path: Path) -> None:
    model = build(backbone="test_resnet", **from_file(weights))
    expected = timm.create_model(
        "test_resnet", features_only=True, pretrained=True, pretrained_cfg_overlay={"file": str(weights)}
    )
    assert all(torch.equal(x, expected.state_dict()[key]) for key, x in model.backbone.state_dict().items())
    assert model.model_args["backbone_args"] == {"pretrained_cfg_overlay": {}}
    path = save_model(model, tmp_path / "weights.safetensors")
    assert "pretrained_backbone" not in read_config(path)["model_args"]
    assert torch.equal(qcs.load_model(path)(faces()[0]), model.eval()(faces()[0]))


def test_weights_of_color_images_fit_a_grayscale_network(weights: Path) -> None:
    model = build(backbone="test_resnet", in_chans=1, **from_file(weights))
    color = build(backbone="test_resnet", **from_file(weights))
    assert_close(model.backbone.conv1[0].weight, color.backbone.conv1[0].weight.sum(1, keepdim=True))


def test_weights_of_another_model_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"weights of test_vit leave \d+ parameters unchanged, such as \S+: they belong to another model",
    ):
        build(backbone="test_vit", **from_file(weights))
    with pytest.raises(InputError, match=r"cannot load timm's weights of resnet18 \(RuntimeError: Error\(s\) in"):
        build(backbone="resnet18", **from_file(weights))
    with pytest.raises(InputError, match=r"cannot load timm's weights of test_resnet \(FileNotFoundError"):
        build(backbone="test_resnet", **from_file(tmp_path / "absent.safetensors"))


def test_without_a_connection_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"cannot load timm's weights of resnet18 .*; check the connection, name a down"
    ):
        build(backbone="resnet18", pretrained_backbone=True)


def test_a_file_cannot_have_other_weights_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(backbone="test_resnet")
    model.model_args["pretrained_backbone"] = True
    path = save_model(model, tmp_path / "weights.safetensors")
    with pytest.raises(InputError, match="has model arguments that this version does not know: pretrained_backbone"):
        qcs.load_model(path)


@pytest.mark.parametrize("create", [qcs.create_model, timm.create_model])
def test_the_networks_have_no_weights_of_their_own(create: Any) -> None:
    with pytest.raises(
        InputError, match=r"qcs_any.untrained has no weights of its own.*pretrained_backbone=True.*checkpoint"
    ):
        create("qcs_any", pretrained=True)


# -------------------------------------------------------------------------------------------------------------- frozen


def test_a_frozen_backbone_keeps_weights_and_statistics_while_the_rest_learns() -> None:
    model = build(backbone="test_resnet")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.freeze_backbone()
    train_one_step(model, faces())
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key, _ in model.named_parameters() if not key.startswith("backbone.")}
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.training
    assert not any(module.training for module in model.backbone.modules())
    assert before.keys() == model.state_dict().keys()


def test_a_frozen_backbone_gives_each_branch_what_it_gives_single_images() -> None:
    model = build(backbone="test_resnet")
    model.freeze_backbone()
    images = faces()
    assert_close(model(*images).base, torch.stack([model(x) for x in images]))


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet1"}, "unknown backbone 'resnet1'; did you mean resnet18 or resnet"),
        ({"backbone": "hf-hub:a/b"}, r"unknown backbone 'hf-hub:a/b'; timm.list_models\(\) lists all"),
        ({"backbone": "resnet18.big"}, r"these weights or metadata of resnet18.big .*; tags of its weights: a1_in1k, "),
        ({"backbone": "qcs_nano"}, "qcs_nano does not support features_only; call model.forward_intermediates"),
        ({"backbone_args": {"out_indices": (3, 4)}}, "must give at least 3 levels of feature maps, resnet18 gives 2"),
        ({"backbone_args": {"out_indices": (7, 8, 9)}}, r"resnet18 cannot be a backbone with out_indices=\(7, 8, 9\)"),
        ({"backbone_args": {"depth": 3}}, "resnet18 cannot be a backbone with .*depth=3.* unexpected keyword"),
        ({"backbone_args": {"checkpoint_path": "x"}}, "backbone_args may not hold checkpoint_path: use"),
        ({"backbone_args": {"act_layer": nn.ReLU}}, "must be plain values .* type is not JSON serializable"),
        ({"backbone_args": {"pretrained_cfg_overlay": {"fil": "x"}}}, "these weights or metadata of resnet18 .*'fil'"),
        ({"img_size": 100}, "sides 13, 7, 4 in resnet18, .* grid of side 4; nearby image sizes that work: 96, 128"),
        ({"img_size": 64, "grid_size": 3}, "cannot all be halved to a grid of side 3; .* that work: 96"),
        ({"grid_size": 0}, "cannot all be halved to a grid of side 0"),
        ({"img_size": 0}, "img_size must be a side in pixels, at least 1, or a pair of equal sides; got 0"),
        ({"img_size": (64, 48)}, r"img_size must be a side in pixels, .*; got \(64, 48\)"),
        ({"backbone": "vit_tiny_patch16_224", "img_size": 8}, "no feature maps for images of 8 pixels .*that work: 16"),
        ({"backbone": "levit_128s", "img_size": None}, "sides 14, 7, 4 in levit_128s, .* that work: 192, 256"),
        (
            {"backbone": "ir_nano", "backbone_args": {"depths": (1, 1), "strides": (2, 2), "widths": (8, 8)}},
            "ir_nano cann",
        ),
    ],
    ids=str,
)
def test_backbones_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        qcs.create_model("qcs_any", **options)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="takes images of 64 x 64 pixels, got 48 x 48; resize them, or create it with"):
        build(backbone="test_resnet")(faces(side=48)[0])


# ----------------------------------------------------------------------------------------------------------- the table


def test_the_table_of_the_documentation_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (\w+) \| `(\w+)` \| (\d.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert {family: backbone for family, backbone, _ in rows} == FAMILIES
    for _, backbone, cells in rows:
        assert cells.split(" | ") == measured(backbone), backbone


def measured(backbone: str) -> list[str]:
    """What the table says of a backbone in `qcs_any` with the defaults."""
    with torch.device("meta"):
        model: Any = qcs.create_model("qcs_any", backbone=backbone)
        levels = qcs.models.backbone.build_backbone(backbone).levels
    counts = [sum(p.numel() for p in m.parameters()) / 1e6 for m in (model, model.inference_model())]
    maps = ", ".join(f"{level.channels} × {level.side}²" for level in levels)
    args = model.model_args
    return [str(args["img_size"]), maps, str(args["grid_size"]), *(f"{count:.1f} M" for count in counts)]


if __name__ == "__main__":
    for family, backbone in FAMILIES.items():
        print(f"| {family} | `{backbone}` | {' | '.join(measured(backbone))} |")
