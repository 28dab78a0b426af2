"""The registered names: what each fixes, how they are listed and created, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import qcs
from qcs.errors import InputError
from qcs.models.zoo import TAGS

FAMILIES = {"base": 1, "dcs": 2, "qcs": 4}
ARCHITECTURES = [f"{family}_{size}" for family in FAMILIES for size in ("any", "dlib", "ir50", "small", "nano")]
PEERS = ["ada_df_resnet18", "dan_resnet18", "ddamfn", "gsdnet_resnet50", "lnsu_swin_tiny", "mfer_convnext_base"]
PEERS += ["poster_ir50", "poster_ir50_base", "poster_ir50_small", "poster_v2_ir50", "poster_v2_ir50_nolm"]
LABELS = {
    "raf_db": ("surprise", "fear", "disgust", "happy", "sad", "anger", "neutral"),
    "ferplus": ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt"),
    "affectnet7": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger"),
    "affectnet8": ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"),
}
# Residual stream; dropout in the MLPs and after the attention projection of the base, then of the cross classifier;
# the side that images are resized to before the crop of 224 pixels.
PUBLISHED = {
    "dcs_ir50.raf_db": ("normalized", (0.0, 0.0), (0.2, 0.0), 224),
    "dcs_ir50.ferplus": ("identity", (0.0, 0.0), (0.2, 0.2), 224),
    "dcs_ir50.affectnet7": ("normalized", (0.0, 0.0), (0.4, 0.0), 236),
    "dcs_ir50.affectnet8": ("identity", (0.2, 0.2), (0.5, 0.5), 224),
    "qcs_ir50.raf_db": ("normalized", (0.0, 0.0), (0.0, 0.0), 224),
    "qcs_ir50.ferplus": ("normalized", (0.0, 0.0), (0.2, 0.2), 224),
    "qcs_ir50.affectnet7": ("normalized", (0.0, 0.0), (0.4, 0.0), 236),
    "qcs_ir50.affectnet8": ("normalized", (0.0, 0.0), (0.0, 0.0), 236),
}


def rates(transformer: Any) -> tuple[float, float]:
    """Dropout in the MLPs (and after the position embedding) and after the attention projection, one for all blocks."""
    (mlp,) = {transformer.pos_drop.p, *(d.p for b in transformer.blocks for d in (b.mlp.drop1, b.mlp.drop2))}
    (projection,) = {block.attn.proj_drop.p for block in transformer.blocks}
    return mlp, projection


@pytest.mark.parametrize(("name", "fixed"), PUBLISHED.items(), ids=PUBLISHED)
def test_published_name_fixes_residual_dropout_and_crop(name: str, fixed: tuple[Any, ...]) -> None:
    with torch.device("meta"):
        model: Any = qcs.create_model(name)
    (residual,) = {module.residual for module in model.cross_modules}
    cfg = model.pretrained_cfg
    resized = cfg["input_size"][-1] / cfg["crop_pct"]
    assert (residual, rates(model.base), rates(model.distillation.classifier), round(resized)) == fixed
    assert model.model_args["drop_attention_projection"] == (model.num_classes == 8)  # matters once a rate is above 0


@pytest.mark.parametrize("tag", LABELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_published_name_fixes_classes_and_preprocessing(family: str, tag: str) -> None:
    with torch.device("meta"):
        model: Any = qcs.create_model(f"{family}_ir50.{tag}")
    assert model.branches == FAMILIES[family]
    assert model.num_classes == model.base.head.out_features == len(LABELS[tag])
    assert model.class_names == model.pretrained_cfg["label_names"] == LABELS[tag]
    assert model.pretrained_cfg["num_classes"] == len(LABELS[tag])
    assert model.pretrained_cfg["input_size"] == (3, 224, 224)
    assert model.pretrained_cfg["mean"] == (0.485, 0.456, 0.406)
    assert model.pretrained_cfg["std"] == (0.229, 0.224, 0.225)


def test_published_tags_are_all_checked() -> None:
    assert set(TAGS) == set(LABELS)
    assert set(qcs.list_models("[dq]cs_ir50.*", tags=True)) == set(PUBLISHED)


def test_names_are_registered_with_timm() -> None:
    assert (
        timm.list_models("qcs*")
        == qcs.list_models("qcs*")
        == ["qcs_any", "qcs_dlib", "qcs_ir50", "qcs_nano", "qcs_small"]
    )
    others = ("dlib_resnet29", "ir50", "ir_nano", "ir_small", "timm_any")
    assert qcs.list_models() == sorted([*ARCHITECTURES, *PEERS, *others])
    assert all(timm.is_model(name) for name in qcs.list_models())
    model = timm.create_model("dcs_nano", num_classes=5)
    assert model(*torch.randn(2, 2, 3, 48, 48)).cross.shape == (2, 2, 5)


def test_tags_are_listed_by_pattern() -> None:
    assert qcs.list_models("qcs_*", tags=True) == sorted(
        [
            *(
                "qcs_any.untrained",
                "qcs_dlib.untrained",
                "qcs_nano.untrained",
                "qcs_small.ferplus",
                "qcs_small.untrained",
            ),
            *(f"qcs_ir50.{tag}" for tag in LABELS),
        ]
    )
    assert qcs.list_models("*_ir50.ferplus", tags=True) == [f"{family}_ir50.ferplus" for family in FAMILIES]
    assert qcs.list_models("resnet*") == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"num_classes": 3}, {"num_classes": 3, "input_size": (3, 48, 48)}),
        ({"in_chans": 1}, {"input_size": (1, 48, 48), "mean": pytest.approx((0.449,)), "std": pytest.approx((0.226,))}),
    ],
    ids=str,
)
def test_metadata_follows_the_arguments(options: dict[str, Any], expected: dict[str, Any]) -> None:
    model: Any = qcs.create_model("qcs_nano", **options)
    assert {key: model.pretrained_cfg[key] for key in expected} == expected


def test_other_classes_than_the_tags_lose_its_label_names() -> None:
    with torch.device("meta"):
        model: Any = qcs.create_model("qcs_ir50.raf_db", num_classes=3)
    assert model.class_names == ("0", "1", "2")


def test_arguments_beat_what_the_name_fixes() -> None:
    with torch.device("meta"):
        model: Any = qcs.create_model("dcs_ir50.affectnet8", residual="normalized", cross_drop_rate=0.1)
    assert model.cross_modules[0].residual == "normalized"
    assert rates(model.distillation.classifier) == (0.1, 0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("qcs_nanoo", {}, "unknown model 'qcs_nanoo'; did you mean qcs_nano"),
        ("resnet18", {}, "unknown model 'resnet18'; did you mean"),
        ("qcs_ir50.rafdb", {}, "unknown tag 'rafdb' of qcs_ir50; expected one of raf_db, ferplus, aff"),
        ("qcs_nano", {"dropout": 0.1}, "qcs_nano: .*unexpected keyword argument 'dropout'"),
        ("qcs_nano", {"checkpoint_path": "absent.pth"}, "no weights found for 'absent.pth'"),
        ("qcs_ir50.raf_db", {"pretrained": True}, "no weights for qcs_ir50.raf_db: .*'qcs convert .*--to qcs_ir50"),
        ("qcs_nano", {"pretrained": True}, "no weights for qcs_nano.untrained: .*'qcs train --model qcs_nano --data"),
        ("ddamfn", {"pretrained": True}, r"no weights for ddamfn.raf_db: .*official impl.*/DDAMFN.*--to ddamfn.raf_db"),
        ("ir50", {"pretrained": True}, "no weights for ir50.untrained: .*'qcs convert ir50.pth --to ir50'"),
    ],
    ids=str,
)
def test_what_cannot_be_created_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=message):
        qcs.create_model(name, **options)


def test_a_published_name_without_weights_says_what_is_missing_and_what_to_run() -> None:
    with torch.device("meta"), pytest.raises(InputError) as caught:
        qcs.create_model("qcs_ir50.raf_db", pretrained=True)
    assert str(caught.value) == (
        "no weights for qcs_ir50.raf_db: the package has no qcs_ir50.raf_db.safetensors, and its authors publish the "
        "original checkpoint (https://github.com/birdwcp/QCS); download that, run 'qcs convert CHECKPOINT.pth --to "
        "qcs_ir50.raf_db', then 'qcs evaluate qcs_ir50.raf_db.safetensors --data DATA' or, in Python, "
        "qcs.load_model('qcs_ir50.raf_db.safetensors')"
    )


def test_timm_says_too_that_there_are_no_weights() -> None:
    with torch.device("meta"), pytest.raises(InputError, match=r"no weights for dcs_ir50\.ferplus"):
        timm.create_model("dcs_ir50.ferplus", pretrained=True)


def test_weights_can_be_loaded_on_creation(tmp_path: Path) -> None:
    trained, path = qcs.create_model("qcs_nano"), tmp_path / "weights.pth"
    torch.save(trained.state_dict(), path)
    loaded = qcs.create_model("qcs_nano", checkpoint_path=path)
    assert all(torch.equal(x, y) for x, y in zip(trained.parameters(), loaded.parameters(), strict=True))
