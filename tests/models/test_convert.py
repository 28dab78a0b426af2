"""`qcs convert`: every entry accounted for, the file proven, and nothing written where anything is in doubt."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conversion import SCHEMAS, measure, write_original
from golden import recipe
from original_network import backbone, flat_name, original_name
from parity import NETWORKS
from torch import Tensor
from typer.testing import CliRunner

import qcs
import qcs.models.convert as convert_module
from qcs import cli
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork
from qcs.models.convert import convert_checkpoint
from qcs.models.golden import golden_logits
from qcs.models.weights import read_config

State = dict[str, Tensor]
DEAD = {"ir_back.output_layer.0.weight": 512, "VIT_base.eca_block.conv.weight": 5, "VIT_cross.blocks.0.conv.bias": 37}


def nano(family: str = "qcs", **options: Any) -> State:
    """A small network's weights under the original's names, with dead entries beside them."""
    state = qcs.create_model(f"{family}_nano", **options).state_dict()
    return {original_name(key): value for key, value in state.items()} | {k: torch.ones(n) for k, n in DEAD.items()}


def ir50(rename: Callable[[str], str] = str) -> State:
    """The face-recognition backbone, from the recipe's weights."""
    keys = {key: shape for key, shape in SCHEMAS["qcs_raf_db"].items() if key.startswith("ir_back.")}
    values = {key: torch.from_numpy(np.array(recipe.weight(key, tuple(shape)))) for key, shape in keys.items()}
    return {
        rename(key.removeprefix("ir_back.")): value.float() if value.is_floating_point() else value
        for key, value in values.items()
    }


def fake(schema: str) -> State:
    """A checkpoint of the right shapes that takes no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in SCHEMAS[schema].items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ----------------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("family", ["base", "dcs", "qcs"])
def test_a_converted_file_holds_the_weights_the_configuration_and_the_counts(folder: Path, family: str) -> None:
    state = nano(family)
    write_original(state, folder / "checkpoint.pth")
    done = convert_checkpoint("checkpoint.pth", f"{family}_nano")
    assert written(folder) == {"checkpoint.pth", f"{family}_nano.safetensors"}
    model = qcs.load_model(done.path)
    assert all(torch.equal(value, state[original_name(key)]) for key, value in model.state_dict().items())
    counts = {"head of the face-recognition network, unused": 1, "layers of the transformers, unused": 2}
    assert (done.loaded.matched, done.loaded.dropped, done.loaded.total) == (len(state) - 3, counts, len(state))
    info = read_config(done.path)["info"]
    assert info["entries"] == {"matched": len(state) - 3, "dropped": counts, "total": len(state), "fresh": 0}
    assert info["converted_from"] == "checkpoint.pth"


def test_the_golden_logits_are_in_the_file_and_the_network_gives_them(folder: Path) -> None:
    write_original(nano(), folder / "checkpoint.pth")
    done = convert_checkpoint("checkpoint.pth", "qcs_nano")
    golden = read_config(done.path)["info"]["golden"]
    assert golden == {"input": "waves", "logits": done.golden}
    logits = golden_logits(qcs.load_model(done.path), 3, 48)
    assert torch.allclose(logits, torch.tensor(done.golden), atol=1e-5)
    assert logits.std() > 1e-3


def test_the_command_says_what_became_of_every_entry(folder: Path) -> None:
    write_original(nano(), folder / "checkpoint.pth")
    done = CliRunner().invoke(cli.app, ["convert", "checkpoint.pth", "--to", "qcs_nano", "--output", "new.safetensors"])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "145 of 148 entries matched",
        "1 dropped: head of the face-recognition network, unused",
        "2 dropped: layers of the transformers, unused",
        "read back: equal tensors, equal logits of the golden input",
        "wrote new.safetensors",
    ]


def test_a_base_network_is_taken_out_of_a_whole_one(folder: Path) -> None:
    torch.save(nano(), folder / "checkpoint.pth")
    done = convert_checkpoint("checkpoint.pth", "base_nano")
    assert done.loaded.dropped["cross part, not in a base network"] == 55
    assert done.loaded.total == 148


def test_our_own_weights_without_configuration_get_one(folder: Path) -> None:
    torch.save(qcs.create_model("dcs_nano", num_classes=3).state_dict(), folder / "weights.pt")
    done = convert_checkpoint("weights.pt", "dcs_nano")
    assert (done.loaded.matched, done.loaded.total) == (142, 142)
    assert qcs.load_model(done.path).num_classes == 3


# ------------------------------------------------------------------------------------------------------ published ones


@pytest.mark.slow
@pytest.mark.parametrize("schema", NETWORKS)
def test_originals_with_golden_numbers_convert_without_loss(tmp_path: Path, schema: str) -> None:
    measured = measure(schema, tmp_path)
    assert measured.total == len(SCHEMAS[schema])
    assert measured.matched == (395 if schema.startswith("qcs") else 392)
    assert measured.matched + sum(measured.dropped.values()) == measured.total
    assert measured.identical and measured.fresh == 0
    assert measured.golden < 1e-9
    assert measured.original < 1e-9


@pytest.mark.slow
def test_a_converted_original_knows_its_tag(folder: Path) -> None:
    torch.save(fake("dcs_ferplus"), folder / "checkpoint.pth")
    model = qcs.load_model(convert_checkpoint("checkpoint.pth", "dcs_ir50.ferplus").path)
    assert model.class_names == ("neutral", "happy", "surprise", "sad", "anger", "disgust", "fear", "contempt")
    assert model.model_args["residual"] == "identity"
    assert model.model_args["cross_drop_rate"] == 0.2


# --------------------------------------------------------------------------------------------------------------- IR-50

NESTINGS: dict[str, Callable[[State], Any]] = {
    "by itself": lambda state: state,
    "in another network's checkpoint": lambda state: {
        "iter": 3,
        "model_state_dict": {
            **{f"module.ir_back.{key}": value for key, value in state.items()},
            "module.pyramid_fuse.cls_token": torch.zeros(1, 1, 512),
        },
    },
}


@pytest.mark.parametrize(
    ("nesting", "rename"),
    list(zip(NESTINGS, (flat_name, str), strict=True)),
    ids=["alone, body.N", "inside, body1-3.N"],
)
def test_an_ir50_is_converted_from_both_namings_alone_and_inside(
    folder: Path, nesting: str, rename: Callable[[str], str]
) -> None:
    state = ir50(rename)
    torch.save(NESTINGS[nesting](state), folder / "ir50.pth")
    done = convert_checkpoint("ir50.pth", "ir50")
    outside = {} if nesting == "by itself" else {"outside the backbone": 1}
    assert done.loaded.matched == 292
    assert done.loaded.dropped == {"head of the face-recognition network, unused": 12, **outside}
    model: Any = qcs.load_model(done.path)
    images = recipe.images("shared/a", batch=1, dtype=torch.float64)
    with torch.inference_mode():
        features = model.double().forward_features(images)
        expected = backbone({k: v.double() for k, v in state.items()}, images, prefix="")[-1]
    assert (features - expected).abs().max() < 1e-9 * expected.abs().max()


def test_a_converted_ir50_starts_networks_and_is_an_ordinary_timm_model(folder: Path) -> None:
    torch.save(ir50(flat_name), folder / "ir50.pth")
    convert_checkpoint("ir50.pth", "ir50")
    model = qcs.create_model("base_ir50.raf_db")
    assert qcs.load_checkpoint(model, "ir50.safetensors", part="backbone").fresh == 340 - 292
    alone = qcs.create_model("ir50", num_classes=0, checkpoint_path="ir50.safetensors")
    assert alone(torch.zeros(1, 3, 112, 112)).shape == (1, 256)
    cfg: Any = alone.pretrained_cfg
    assert read_config("ir50.safetensors")["pretrained_cfg"]["num_classes"] == 0
    assert read_config("ir50.safetensors")["pretrained_cfg"]["mean"] == list(cfg["mean"])


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            None,
            r"state the network of checkpoint.pth \(--to NAME, .*\): its shapes are those of qcs_nano, and the tag",
        ),
        (
            "qcs_ir50",
            r"state the network of checkpoint.pth \(--to NAME, .*\): its shapes are those of qcs_nano, and",
        ),
        ("qcs_nan", r"unknown model 'qcs_nan'; did you mean qcs_nano"),
        ("qcs_ir50.rafdb", r"unknown tag 'rafdb' of qcs_ir50; expected one of raf_db, "),
        ("dcs_nano", r"does not fit dcs_nano: 3 unexpected: .*theta, .*\. Its shapes are those of qcs_nano"),
        ("qcs_ir50.raf_db", r"does not fit qcs_ir50: 250 missing: .*\. Its shapes are those of qcs_nano"),
        ("ir50", r"does not fit ir50: \d+ missing"),
    ],
)
def test_a_name_that_is_wrong_or_leaves_anything_open_is_refused(folder: Path, name: str | None, message: str) -> None:
    write_original(nano(), folder / "checkpoint.pth")
    with pytest.raises(InputError, match=message):
        convert_checkpoint("checkpoint.pth", name)
    assert written(folder) == {"checkpoint.pth"}


@pytest.mark.parametrize(
    ("schema", "fitting"),
    [
        ("qcs_raf_db", "qcs_ir50.affectnet7 or qcs_ir50.raf_db"),
        ("qcs_ferplus", "qcs_ir50.affectnet8 or qcs_ir50.ferplus"),
        ("dcs_affectnet7", "dcs_ir50.affectnet7 or dcs_ir50.raf_db"),
        ("dcs_ferplus", "dcs_ir50.affectnet8 or dcs_ir50.ferplus"),
        ("dcs_affectnet8", "dcs_ir50.affectnet8"),
    ],
)
def test_without_a_name_the_names_that_fit_are_listed(folder: Path, schema: str, fitting: str) -> None:
    torch.save(fake(schema), folder / "checkpoint.pth")
    with pytest.raises(InputError, match=rf"with its tag\): its shapes are those of {fitting}, and the tag fixes"):
        convert_checkpoint("checkpoint.pth")


@pytest.mark.parametrize("rename", [str, flat_name], ids=["body1-3.N", "body.N"])
def test_a_backbone_without_a_name_is_recognized(folder: Path, rename: Callable[[str], str]) -> None:
    torch.save({rename(k): v for k, v in fake("qcs_raf_db").items() if k.startswith("ir_back.")}, folder / "ir50.pth")
    with pytest.raises(InputError, match=r"its shapes are those of ir50, and"):
        convert_checkpoint("ir50.pth")


def test_a_tag_that_the_entries_contradict_is_refused(folder: Path) -> None:
    torch.save(fake("dcs_affectnet8"), folder / "checkpoint.pth")
    with pytest.raises(InputError, match=r"is not of dcs_ir50.ferplus: it holds the bilinear-pooling head.*affectnet8"):
        convert_checkpoint("checkpoint.pth", "dcs_ir50.ferplus")


@pytest.mark.parametrize("key", ["conv1.weight", "ir_back.body3.0.res_layer.1.weight", "cross_attention_1.theta"])
def test_a_missing_or_strange_entry_is_refused_by_name(folder: Path, key: str) -> None:
    state = nano()
    assert key in state
    torch.save({k: v for k, v in state.items() if k != key}, folder / "short.pth")
    with pytest.raises(InputError, match=r"short.pth does not fit qcs_nano: 1 missing: "):
        convert_checkpoint("short.pth", "qcs_nano")
    torch.save({**state, "ir_back.body1.0.res_layer.5.fc1.weight": torch.ones(2)}, folder / "long.pth")
    with pytest.raises(InputError, match=r"long.pth does not fit qcs_nano: 1 unexpected: .*res_layer.5.fc1.weight"):
        convert_checkpoint("long.pth", "qcs_nano")
    assert written(folder) == {"short.pth", "long.pth"}


def test_existing_and_strange_outputs_are_refused(folder: Path) -> None:
    write_original(nano(), folder / "checkpoint.pth")
    (folder / "qcs_nano.safetensors").write_text("precious")
    with pytest.raises(InputError, match=r"qcs_nano.safetensors exists already; choose another output"):
        convert_checkpoint("checkpoint.pth", "qcs_nano")
    with pytest.raises(InputError, match=r"written as .safetensors, got weights.pth"):
        convert_checkpoint("checkpoint.pth", "qcs_nano", "weights.pth")
    assert written(folder) == {"checkpoint.pth", "qcs_nano.safetensors"}
    assert (folder / "qcs_nano.safetensors").read_text() == "precious"


def test_a_file_that_does_not_read_back_is_not_left_behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_original(nano(), folder / "checkpoint.pth")

    def corrupted(path: Path) -> CrossSimilarityNetwork:
        model = qcs.load_model(path)
        with torch.no_grad():
            model.tokens.reduce[0].bias[0].mul_(1.0001).add_(1e-6)
        return model

    monkeypatch.setattr(convert_module, "load_model", corrupted)
    with pytest.raises(OSError, match=r"does not read back as it was written: tokens.reduce.0.bias differs"):
        convert_checkpoint("checkpoint.pth", "qcs_nano")
    assert written(folder) == {"checkpoint.pth"}


def test_weights_that_answer_with_nan_are_refused(folder: Path) -> None:
    state = nano()
    state["conv1.bias"][0] = math.nan
    torch.save(state, folder / "checkpoint.pth")
    with pytest.raises(InputError, match=r"checkpoint.pth holds values that are not finite in conv1.bias: "):
        convert_checkpoint("checkpoint.pth", "qcs_nano")
    assert written(folder) == {"checkpoint.pth"}


def test_other_answers_after_reading_back_are_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_original(nano(), folder / "checkpoint.pth")
    monkeypatch.setattr(convert_module, "golden_logits", lambda *_: torch.full((2, 7), math.e))
    with pytest.raises(InputError, match="golden logits differ"):
        convert_checkpoint("checkpoint.pth", "qcs_nano")
    assert written(folder) == {"checkpoint.pth"}
