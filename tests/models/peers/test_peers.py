"""The peers beside their golden numbers: all official variants, training, saving, and what each shares with others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peer_golden import CONSTANT, FOLDER, alias_of, is_parameter
from torch import Tensor, nn
from torch.testing import assert_close

import qcs
from qcs.errors import InputError
from qcs.losses import DANLoss, LNSULoss
from qcs.losses.lnsu import RAF_DB_WEIGHTS, balanced_weights
from qcs.models import peers
from qcs.models.checkpoint import read_entries

SMALL: dict[str, dict[str, Any]] = {
    "ada_df_resnet18": {},
    "dan_resnet18": {},
    "ddamfn": dict(img_size=32),
    "gsdnet_resnet50": {},
    "lnsu_swin_tiny": dict(img_size=64),
    "mfer_convnext_base": dict(depths=(1, 1, 1, 1), widths=(8, 16, 24, 32)),
    "poster_ir50_small": dict(depth=1),
    "poster_v2_ir50": {},
    "poster_v2_ir50_nolm": {},
}
# Official state dicts without golden numbers, and the parameters that their specification states.
VARIANTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "dan_8cls": ("dan_resnet18.affectnet8", {}, 19_724_248),
    "posterv2_8cls": ("poster_v2_ir50", dict(num_classes=8), 58_317_363),
    "poster_base": ("poster_ir50_base", {}, 62_039_767),
    "poster_small": ("poster_ir50_small", {}, 52_229_135),
    "poster_affectnet": ("poster_ir50.affectnet7", {}, 71_607_999),
}
# Parameters of the objectives' inputs that no training reaches, by name.
FROZEN = {
    "ada_df_resnet18": ("stem.", "stages.0."),
    "poster_ir50_small": ("landmarks.",),
    "poster_v2_ir50": ("landmarks.",),
}

each_peer = pytest.mark.parametrize("name", SMALL)


def build(name: str, **options: Any) -> Any:
    return qcs.create_model(name, **{**SMALL[name], **options})


def side_of(name: str) -> int:
    return SMALL[name].get("img_size", 64)


def faces(name: str, count: int = 4) -> Tensor:
    return torch.randn(count, 3, side_of(name), side_of(name), generator=torch.Generator().manual_seed(0))


def shapes_of(schema: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in json.loads((FOLDER / f"{schema}.schema.json").read_text()).items()}


def test_every_peer_is_covered() -> None:
    registered = {name for module in peers.MODULES for name in module.default_cfgs}
    assert registered == peers.CLASSES.keys() == {*SMALL, "poster_ir50", "poster_ir50_base"}


@pytest.mark.parametrize("schema", VARIANTS)
def test_official_variant_fills_its_network(schema: str) -> None:
    name, options, stated = VARIANTS[schema]
    shapes = shapes_of(schema)
    assert sum(math.prod(shape) for key, shape in shapes.items() if is_parameter(key)) == stated
    kinds = {key: torch.long if key.endswith(CONSTANT) else torch.float for key in shapes}
    with torch.device("meta"):
        model: Any = qcs.create_model(name, **options)
        entries = read_entries({key: torch.empty(shapes[key], dtype=kinds[key]) for key in shapes})
    wanted = {key: (value.shape, value.dtype) for key, value in model.state_dict().items()}
    assert {key: (value.shape, value.dtype) for key, value in entries.state.items()} == wanted
    assert len(entries.state) + sum(entries.dropped.values()) == len(shapes)


@each_peer
def test_objective_trains_every_parameter_that_it_should(name: str) -> None:
    model = build(name).train()
    objective = model.objective(torch.ones(7, dtype=torch.long))
    out = model.forward_outputs(faces(name))
    losses = objective(out, torch.tensor([0, 1, 2, 3]))
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    losses["loss"].backward()
    left = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert all(key.startswith(FROZEN.get(name, ("nothing",))) for key in left)
    assert {key for key, parameter in model.named_parameters() if not parameter.requires_grad} == left


@each_peer
def test_plain_call_gives_the_prediction_and_needs_nothing_of_the_objective(name: str) -> None:
    model = build(name).eval()
    with torch.inference_mode():
        logits = model(faces(name))
        assert logits.shape == (4, 7)
        assert_close(model.inference_model()(faces(name)), logits, rtol=0, atol=0)


@each_peer
def test_weights_file_rebuilds_the_network(name: str, tmp_path: Path) -> None:
    model = build(name, num_classes=5).eval()
    model.name_classes(("a", "b", "c", "d", "e"))
    again = qcs.load_model(qcs.models.save_model(model, tmp_path / "model.safetensors"))
    assert again.class_names == ("a", "b", "c", "d", "e")
    assert again.model_args == model.model_args
    with torch.inference_mode():
        assert_close(again(faces(name)), model(faces(name)), rtol=0, atol=0)


@each_peer
def test_quadruplets_can_be_compared_on_the_trunk(name: str) -> None:
    side = {"ddamfn": 64, "lnsu_swin_tiny": 112, "poster_ir50_small": None, "poster_v2_ir50": None}.get(name, 64)
    args = {key: value for key, value in SMALL[name].items() if key != "img_size"}
    with torch.device("meta"):
        model: Any = qcs.create_model("qcs_any", backbone=name, img_size=side, backbone_args=args)
        images = torch.empty(4, 2, 3, *[side or 112] * 2)
        assert model(*images).cross.shape == (4, 2, 7)
    assert not any("head" in key or "auxiliary" in key for key in model.backbone.state_dict())


def test_poster_v2_without_landmarks_is_the_base_network() -> None:
    published, ours = qcs.create_model("base_ir50.raf_db").eval(), qcs.create_model("poster_v2_ir50_nolm").eval()
    state = {key.removeprefix("backbone.model."): value for key, value in published.state_dict().items()}
    renamed = {key.replace("base.", "head.", 1): value for key, value in state.items()}
    ours.load_state_dict(renamed, strict=True)
    images = torch.randn(2, 3, 112, 112)
    with torch.inference_mode():
        assert_close(ours(images), published(images), rtol=0, atol=0)


def test_poster_for_raf_db_sees_bgr_planes_normalized_by_the_statistics_of_rgb() -> None:
    plain = qcs.create_model("poster_ir50_small", depth=1).eval()
    reverse: Any = qcs.create_model("poster_ir50_small", depth=1, reverse_channels=True).eval()
    reverse.load_state_dict(plain.state_dict())
    with torch.device("meta"):
        cfg = qcs.create_model("poster_ir50.raf_db").pretrained_cfg
        rgb_cfg = qcs.create_model("poster_ir50").pretrained_cfg
    rgb = torch.rand(2, 3, 112, 112)

    def normalized(x: Tensor, statistics: Any) -> Tensor:
        mean, std = (torch.tensor(statistics[key])[:, None, None] for key in ("mean", "std"))
        return (x - mean) / std

    with torch.inference_mode():
        published = plain(normalized(rgb.flip(1), rgb_cfg))
        assert_close(reverse(normalized(rgb, cfg)), published)
    assert torch.all(published != plain(normalized(rgb, rgb_cfg)))


def test_landmark_network_is_frozen_but_its_statistics_follow_the_images() -> None:
    model = build("poster_v2_ir50")
    before = {key: value.clone() for key, value in model.landmarks.state_dict().items()}
    model.train()(faces("poster_v2_ir50"))
    moved = {key for key, value in model.landmarks.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {key for key in before if key.endswith(("running_mean", "running_var", "num_batches_tracked"))}


def test_branches_of_ada_df_start_equal() -> None:
    model = build("ada_df_resnet18").eval()
    shared = {f"stages.{key}": value for key, value in model.auxiliary.stages.state_dict().items()}
    assert shared and all(torch.equal(value, model.state_dict()[key]) for key, value in shared.items())
    assert torch.equal(model.auxiliary.head.fc.weight, model.head.fc.weight)
    assert not torch.equal(model.auxiliary.head.gate.weight, model.head.gate.weight)


def test_objective_of_ada_df_resumes_where_it_ended() -> None:
    objective = build("ada_df_resnet18").objective()
    logits, labels = 3 * torch.eye(7) + torch.randn(7, 7), torch.arange(7)
    objective.end_epoch(logits, labels)
    resumed = build("ada_df_resnet18").objective()
    resumed.load_state_dict(objective.state_dict())
    assert resumed.epoch == 2
    assert torch.equal(resumed.class_distributions, objective.class_distributions)


def test_a_class_without_images_falls_back_to_a_row_that_does_not_sum_to_one() -> None:
    objective = build("ada_df_resnet18").objective()
    objective.end_epoch(9 * torch.eye(7)[:6], torch.arange(6))
    assert objective.class_distributions[6].sum() == pytest.approx(1.1)
    assert objective.class_distributions[0].sum() == pytest.approx(1.0)


def test_dan_for_raf_db_has_a_center_too_many() -> None:
    def centers(name: str) -> int:
        with torch.device("meta"):
            objective: DANLoss = qcs.create_model(name).objective()  # type: ignore[operator]
        return len(objective.centers)

    assert [centers(f"dan_resnet18.{tag}") for tag in ("raf_db", "affectnet7", "affectnet8")] == [8, 7, 8]


def test_published_class_weights_follow_the_counts_of_raf_db() -> None:
    counts = torch.tensor([1290, 281, 717, 4772, 1982, 705, 2524])
    assert_close(balanced_weights(counts), torch.tensor(RAF_DB_WEIGHTS))
    labels = LNSULoss(balanced_weights(counts)).smooth_labels(torch.tensor([3]))
    assert labels.sum() == pytest.approx(1.0) and labels[0, 3] == pytest.approx(0.7)


def test_class_weights_are_asked_for_where_none_were_published() -> None:
    with pytest.raises(InputError, match=r"published class weights are for 7 classes, this network has 8: give class_"):
        build("lnsu_swin_tiny", num_classes=8).objective(class_weights="published")
    with pytest.raises(InputError, match="weighs its classes: give class_counts, or class_weights='published'"):
        build("lnsu_swin_tiny").objective()
    with pytest.raises(InputError, match=r"at least one image of every class, got counts \[3, 0\]"):
        balanced_weights(torch.tensor([3, 0]))


def test_an_image_size_that_the_head_cannot_take_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 16 pixels, got 100"):
        qcs.create_model("ddamfn", img_size=100)


def test_a_checkpoint_of_another_peer_is_refused_with_the_right_name() -> None:
    state = {f"module.{key}": value for key, value in official("dan_8cls").items()}
    with pytest.raises(InputError, match=r"does not fit ddamfn: .*Its shapes are those of dan_resnet18\.affectnet8"):
        qcs.load_checkpoint(qcs.create_model("ddamfn"), {"iter": 3, "model_state_dict": state})
    with pytest.raises(InputError, match=r"(holds weights for 8 classes|does not fit dan_resnet18)"):
        qcs.load_checkpoint(qcs.create_model("dan_resnet18"), {"model_state_dict": state})


def test_entries_of_ada_df_that_should_repeat_others_are_compared() -> None:
    state = official("adadf")
    assert str(qcs.load_checkpoint(qcs.create_model("ada_df_resnet18"), state)).startswith("218 of 402 entries matched")
    state["branch_2_feature.1.0.conv1.weight"] = torch.ones(256, 128, 3, 3)
    with pytest.raises(InputError, match=r"Ada-DF is corrupt: branch_2_feature\.1\.0\.conv1\.weight differs from the"):
        qcs.load_checkpoint(qcs.create_model("ada_df_resnet18"), state)


def test_trunk_of_a_peer_fills_ir50() -> None:
    ir50: nn.Module = qcs.create_model("ir50", num_classes=0)
    loaded = qcs.load_checkpoint(ir50, official("poster_small"))
    assert (loaded.matched, loaded.dropped["outside the backbone"]) == (292, len(shapes_of("poster_small")) - 292 - 13)


def test_official_checkpoint_converts_to_a_weights_file(tmp_path: Path) -> None:
    state = {f"module.{key}": value for key, value in official("dan_8cls").items()}
    torch.save({"iter": 5, "model_state_dict": state, "optimizer_state_dict": {}}, tmp_path / "dan.pth")
    done = qcs.models.convert_checkpoint(tmp_path / "dan.pth", "dan_resnet18.affectnet8", tmp_path / "dan.safetensors")
    assert str(done.loaded) == "275 of 275 entries matched"
    assert qcs.load_model(done.path).class_names[-1] == "contempt"


def official(schema: str) -> dict[str, Tensor]:
    """An official state dict of small random values."""
    state: dict[str, Tensor] = {}
    for key, shape in shapes_of(schema).items():
        if alias_of(key) != key:
            state[key] = state[alias_of(key)]
        elif key.endswith(CONSTANT):
            state[key] = torch.zeros(shape, dtype=torch.long)
        else:
            state[key] = 0.02 * torch.randn(shape) + (1.0 if key.endswith("running_var") else 0.0)
            state[key] = state[key].abs() if key.endswith("running_var") else state[key]
    return state
