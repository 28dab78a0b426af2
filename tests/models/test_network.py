"""The network: what it computes in training and at inference, timm's conventions, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from timm.models._manipulate import group_parameters
from torch import Tensor, nn
from torch.testing import assert_close

import qcs
from qcs.errors import InputError
from qcs.losses import JointLoss
from qcs.models import BranchLogits, CrossSimilarityNetwork

COUNTS = {"base_nano": 1, "dcs_nano": 2, "qcs_nano": 4}
CONNECTIONS = ("vit", "gap", "bilinear", "none")
each_model = pytest.mark.parametrize("name", COUNTS)
each_compared = pytest.mark.parametrize("name", ["dcs_nano", "qcs_nano"])


def build(name: str, **options: Any) -> CrossSimilarityNetwork:
    model = qcs.create_model(name, **options)
    assert isinstance(model, CrossSimilarityNetwork)
    return model


def faces(model: CrossSimilarityNetwork, batch: int = 2, side: int = 48, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images of every branch; brightness and contrast differ, so that batch statistics do."""
    images = torch.randn(model.branches, batch, 3, side, side, dtype=dtype)
    factor = torch.arange(1, model.branches + 1, dtype=dtype).view(-1, 1, 1, 1, 1)
    return factor * images + factor


def step(model: CrossSimilarityNetwork, images: Tensor, **options: Any) -> Tensor:
    """Loss of all branches, its gradients left in the parameters."""
    labels = torch.arange(images.shape[1]).expand(len(images), -1)
    out = model(*images, **options)
    if not isinstance(out, BranchLogits):
        out = BranchLogits(out[None], None)
    loss: Tensor = JointLoss()(out, labels)["loss"]
    loss.backward()
    return loss.detach()


# --------------------------------------------------------------------------------------------------- what it computes


@each_model
@pytest.mark.parametrize("side", [48, 64])
def test_single_images_give_base_logits(name: str, side: int) -> None:
    assert build(name)(torch.randn(3, 3, side, side)).shape == (3, 7)


@each_compared
def test_all_branches_give_logits_of_both_classifiers(name: str) -> None:
    model = build(name, num_classes=5)
    out = model(*faces(model))
    assert (out.base.shape, out.cross.shape, out.attention) == ((COUNTS[name], 2, 5), (COUNTS[name], 2, 5), None)


@each_compared
@pytest.mark.parametrize("options", [{}, {"residual": "identity"}, {"scope": "sample"}], ids=str)
def test_cross_logits_come_from_each_level_compared_and_joined_again(name: str, options: dict[str, Any]) -> None:
    model = build(name, **options).eval()
    images = faces(model)
    out = model(*images, return_attention=True)
    features = [model.forward_features(x)[:, 1:] for x in images]
    compared = []
    for level, module in enumerate(model.cross_modules):
        levels = slice(36 * level, 36 * (level + 1))
        refined, weights = module(*[x[:, levels] for x in features], return_attention=True)
        assert module.residual == options.get("residual", "normalized")
        compared.append(refined)
        assert_close(out.attention[level], torch.stack(weights))
    cross = [torch.cat(levels, 1) for levels in zip(*compared, strict=True)]
    expected = [model.distillation(x, y) for x, y in zip(features, cross, strict=True)]
    assert_close(out.cross, torch.stack(expected))
    assert_close(out.base, torch.stack([model(x) for x in images]))


@each_compared
def test_in_training_each_branch_has_its_own_batch_statistics_and_updates_the_running_ones_in_order(name: str) -> None:
    model = build(name).double()
    apart = copy.deepcopy(model)
    images = faces(model, dtype=torch.float64)
    out = model(*images)
    assert_close(out.base, torch.stack([apart(x) for x in images]))
    assert_close(dict(model.named_buffers()), dict(apart.named_buffers()))
    assert model.backbone.model.stem.norm.num_batches_tracked == COUNTS[name]


@pytest.mark.slow
def test_the_whole_network_compiles_to_one_graph_with_the_same_results() -> None:
    model = build("qcs_nano").double()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager_decomp_partition")
    images = faces(model, dtype=torch.float64)
    assert_close(step(cast(Any, compiled), images), step(model, images))
    assert_close([p.grad for p in compiled.parameters()], [p.grad for p in model.parameters()])
    assert_close(dict(compiled._orig_mod.named_buffers()), dict(model.named_buffers()))


@each_compared
def test_converted_to_pytorch_s_synchronized_norms_it_still_keeps_the_branches_apart(name: str) -> None:
    model = build(name).double()
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    images = faces(model, dtype=torch.float64)
    assert_close(converted(*images).base, model(*images).base)
    assert_close(dict(converted.named_buffers()), dict(model.named_buffers()))


def test_joint_batch_norm_takes_one_set_of_statistics_over_all_branches() -> None:
    model = build("qcs_nano", batch_norm="joint").double()
    apart = copy.deepcopy(model)
    images = faces(model, dtype=torch.float64)
    out = model(*images)
    assert_close(out.base.flatten(0, 1), apart(images.flatten(0, 1)))
    assert_close(dict(model.named_buffers()), dict(apart.named_buffers()))
    assert model.backbone.model.stem.norm.num_batches_tracked == 1


@each_compared
def test_attention_is_a_distribution_over_the_tokens_of_each_level(name: str) -> None:
    model = build(name)
    attention = model(*faces(model), return_attention=True).attention
    assert attention.shape == (3, COUNTS[name], 2, 36)
    assert_close(attention.sum(-1), torch.ones(3, COUNTS[name], 2))


def test_dot_product_ablation_gives_maps() -> None:
    model = build("dcs_nano", attention="sdpa")
    attention = model(*faces(model), return_attention=True).attention
    assert attention.shape == (3, 2, 2, 36, 36)
    assert_close(attention.sum(-1), torch.ones(3, 2, 2, 36))


@each_model
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_every_parameter_receives_a_gradient(name: str, connection: str) -> None:
    model = build(name, connection=connection)
    step(model, faces(model))
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_cross_classifier_teaches_the_base_features(connection: str) -> None:
    model = build("qcs_nano", connection=connection)
    model(*faces(model)).cross.square().sum().backward()
    assert model.base.norm.weight.grad.any()
    assert model.base.head.weight.grad is None


# ------------------------------------------------------------------------------------------------------- at inference


@each_model
def test_inference_model_has_the_same_logits_without_a_cross_part(name: str) -> None:
    model = build(name).eval()
    images = faces(model)
    small = model.inference_model()
    assert not any(n.startswith(("cross_modules", "distillation")) for n in small.state_dict())
    assert torch.equal(small(images[0]), model(images[0]))
    assert model.branches == COUNTS[name]
    with pytest.raises(InputError, match="takes 1 image batch, got 2"):
        small(images[0], images[0])


@each_compared
def test_inference_model_loads_the_full_weights(name: str) -> None:
    trained, x = build(name).eval(), torch.randn(2, 3, 48, 48)
    small = build(name).inference_model().eval()
    assert not torch.equal(small(x), trained(x))
    qcs.load_checkpoint(small, trained.state_dict())
    assert torch.equal(small(x), trained(x))


def test_logits_at_inference_do_not_depend_on_companions() -> None:
    model, x = build("qcs_nano").eval(), torch.randn(3, 3, 48, 48)
    assert_close(model(x)[:1], model(x[:1]))


@pytest.mark.parametrize(("name", "trained"), [("qcs_ir50", 66_810_513), ("dcs_ir50", 66_810_510)])
def test_published_networks_have_their_size(name: str, trained: int) -> None:
    with torch.device("meta"):
        model = build(name)
    assert sum(p.numel() for p in model.parameters()) == trained
    assert sum(p.numel() for p in model.inference_model().parameters()) == 40_700_039


@each_model
def test_nano_networks_are_small_at_inference(name: str) -> None:
    with torch.device("meta"):
        model = build(name).inference_model()
    assert sum(p.numel() for p in model.parameters()) <= 1_500_000


def test_published_network_takes_images_of_224_pixels() -> None:
    with torch.device("meta"):
        model = build("qcs_ir50.raf_db")
        out = model(*torch.empty(4, 2, 3, 224, 224), return_attention=True)
        assert model(torch.empty(2, 3, 224, 224)).shape == (2, 7)
    assert (out.base.shape, out.cross.shape, out.attention.shape) == ((4, 2, 7), (4, 2, 7), (3, 4, 2, 49))


# ----------------------------------------------------------------------------------------------------- timm's anatomy


@each_model
def test_head_gives_what_the_forward_pass_does(name: str) -> None:
    model, x = build(name).eval(), torch.randn(2, 3, 48, 48)
    tokens = model.forward_features(x)
    assert tokens.shape == (2, 1 + 108, 64)
    assert_close(model.forward_head(tokens), model(x))
    gated = model.forward_head(tokens, pre_logits=True)
    assert gated.shape == (2, model.num_features)
    assert_close(model.get_classifier()(gated), model(x))


@each_compared
@pytest.mark.parametrize("connection", CONNECTIONS)
def test_heads_can_be_removed_and_replaced(name: str, connection: str) -> None:
    model = build(name, connection=connection, num_classes=0)
    out = model(*faces(model))
    assert out.base.shape == (COUNTS[name], 2, 64)
    assert out.cross.shape == (COUNTS[name], 2, 64**2 if connection == "bilinear" else 64)
    model.double().reset_classifier(5)
    assert model.num_classes == model.model_args["num_classes"] == 5
    assert [x.shape for x in model(*faces(model, dtype=torch.float64))[:2]] == [(COUNTS[name], 2, 5)] * 2


def test_new_classes_drop_the_names_of_the_old_ones() -> None:
    model = build("qcs_nano")
    model.name_classes(list("abcdefg"))
    assert model.class_names == tuple("abcdefg")
    model.reset_classifier(3)
    assert model.class_names == ("0", "1", "2")
    with pytest.raises(InputError, match="expected 3 class names, got 2: x, y"):
        model.name_classes(["x", "y"])


def test_grayscale_images_pass() -> None:
    model = build("qcs_nano", in_chans=1)
    assert model(*torch.randn(4, 2, 1, 48, 48)).cross.shape == (4, 2, 7)


@each_compared
def test_checkpointing_changes_neither_loss_nor_gradients_nor_running_statistics(name: str) -> None:
    model = build(name).double()
    plain = copy.deepcopy(model)
    model.set_grad_checkpointing()
    images = faces(model, dtype=torch.float64)
    assert_close(step(model, images), step(plain, images))
    assert_close([p.grad for p in model.parameters()], [p.grad for p in plain.parameters()])
    assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


def test_checkpointing_repeats_the_same_dropout() -> None:
    model = build("qcs_nano", base_drop_rate=0.3, cross_drop_rate=0.3)
    images, gradients = faces(model), []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        torch.manual_seed(1)
        step(model, images)
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert_close(gradients[1], gradients[0])


def test_parameters_are_grouped_from_input_to_output() -> None:
    model = build("qcs_nano")
    groups = group_parameters(model, model.group_matcher(), reverse=True)
    assert set(groups) == {name for name, _ in model.named_parameters()}
    assert groups["backbone.model.stem.conv.weight"] == 0
    assert groups["backbone.model.stages.0.0.conv1.weight"] < groups["base.blocks.0.attn.qkv.weight"]
    assert groups["base.blocks.0.attn.qkv.weight"] < groups["base.head.weight"]


def test_weight_decay_leaves_tokens_positions_and_theta_alone() -> None:
    classifiers = [
        f"{part}.{leaf}" for part in ("base", "distillation.classifier") for leaf in ("cls_token", "pos_embed")
    ]
    thetas = [f"cross_modules.{level}.attention.theta" for level in range(3)]
    assert build("qcs_nano").no_weight_decay() == {*classifiers, *thetas}


# ---------------------------------------------------------------------------------------------------------- precision


@each_model
def test_bfloat16_network_classifies_and_compares(name: str) -> None:
    model = build(name).to(torch.bfloat16).eval()
    images = faces(model).bfloat16()
    assert model(images[0]).dtype == torch.bfloat16
    if model.branches > 1:
        out = model(*images, return_attention=True)
        assert {x.dtype for x in out} == {torch.bfloat16}
        assert all(x.isfinite().all() for x in out)
        assert_close(out.attention.float().sum(-1), torch.ones(3, COUNTS[name], 2), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("base_nano", {}),
        ("dcs_nano", {"attention": "sdpa"}),
        ("dcs_nano", {}),
        *[("qcs_nano", {"connection": connection}) for connection in CONNECTIONS],
    ],
    ids=str,
)
def test_network_trains_under_autocast(name: str, options: dict[str, Any]) -> None:
    model = build(name, **options)
    images = faces(model)
    plain = copy.deepcopy(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = step(model, images)
    assert_close(loss.float(), step(plain, images), rtol=0.05, atol=0.05)
    assert all(p.grad.isfinite().all() for p in model.parameters())


# ----------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("base_nano", 2, "this network takes 1 image batch, got 2"),
        ("dcs_nano", 4, "this network takes 1 or 2 image batches, got 4"),
        ("qcs_nano", 2, "this network takes 1 or 4 image batches, got 2"),
        ("qcs_nano", 3, "this network takes 1 or 4 image batches, got 3"),
    ],
)
def test_wrong_numbers_of_branches_are_refused(name: str, count: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name)(*torch.randn(count, 2, 3, 48, 48))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 48, 48), r"expected images \(B, 3, H, W\), got shape \(3, 48, 48\)"),
        (torch.zeros(2, 1, 48, 48), r"expected images \(B, 3, H, W\), got shape \(2, 1, 48, 48\)"),
        (torch.zeros(0, 3, 48, 48), r"expected images \(B, 3, H, W\), got shape \(0, 3, 48, 48\)"),
        (
            torch.zeros(2, 3, 48, 48, dtype=torch.uint8),
            "expected normalized images .*, got torch.uint8",
        ),
        (torch.zeros(2, 3, 48, 48).double(), "expected normalized images of dtype torch.float32, got torch.float64"),
        (torch.zeros(2, 3, 48, 48, device="meta"), "the network is on cpu, the images are on meta; move one"),
    ],
    ids=["dimensions", "channels", "empty", "bytes", "dtype", "device"],
)
def test_images_that_do_not_fit_are_refused(images: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build("qcs_nano")(images)


def test_branches_of_different_shape_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"all branches must have one shape, got \(2, 3, 48, 48\) and \(3, 3, 48, 48\)"
    ):
        build("dcs_nano")(torch.zeros(2, 3, 48, 48), torch.zeros(3, 3, 48, 48))


def test_attention_of_single_images_is_refused() -> None:
    with pytest.raises(InputError, match="attention compares images: pass all 4 branches"):
        build("qcs_nano")(torch.zeros(2, 3, 48, 48), return_attention=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qcs_nano", {"branches": 3}, r"branches must be 1 \(base\), 2 \(DCS\) or 4 \(QCS\), got 3"),
        ("qcs_nano", {"attention": "sdpa"}, "attention='sdpa' is defined for two branches only, got branches=4"),
        ("qcs_nano", {"scope": "all"}, "scope must be one of"),
        ("qcs_nano", {"matrices": "x"}, "matrices must be one of"),
        ("dcs_nano", {"residual": "none"}, "residual must be one of"),
        ("dcs_nano", {"connection": "sum"}, "connection must be one of"),
        ("base_nano", {"num_heads": 5}, "num_heads must divide the 64 channels"),
        ("base_nano", {"residual": "none"}, "residual must be one of"),
        ("base_nano", {"img_size": 50}, "of sides 13, 13, 7 in ir_nano, .* nearby image sizes that work: 48, 96"),
        ("base_nano", {"grid_size": 7}, "cannot all be halved to a grid of side 7; .* that work: 56"),
    ],
    ids=str,
)
def test_unknown_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(name, **options)


@each_compared
def test_backend_reaches_every_level(name: str) -> None:
    model = build(name, backend="reference")
    assert [module.attention.backend for module in model.cross_modules] == ["reference"] * 3
    with pytest.raises(InputError, match="unknown backend 'fast'"):
        build(name, backend="fast")


def test_layers_of_the_network_are_shared_by_all_branches_and_by_no_two_levels() -> None:
    model = build("qcs_nano")
    assert len({id(module) for module in model.cross_modules}) == len(model.cross_modules) == 3
    assert len({id(p) for p in model.parameters()}) == len(list(model.named_parameters(remove_duplicate=False)))
    assert isinstance(model.cross_modules, nn.ModuleList)
