"""The networks trained for face recognition or landmarks, from which the peers start: they fill trunks alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from test_peers import shapes_of
from timm.models import get_pretrained_cfg_value
from torch import Tensor

import qcs
from qcs.errors import InputError
from qcs.models.checkpoint import read_entries
from qcs.models.factory import fitting_names

PREFIXES = ("stem.", "stages.")


def meta(shapes: dict[str, Any]) -> dict[str, Tensor]:
    counters = ("num_batches_tracked", "relative_position_index")
    return {
        key: torch.empty(shape, device="meta", dtype=torch.long if key.endswith(counters) else torch.float)
        for key, shape in shapes.items()
    }


def resnet18() -> dict[str, Any]:
    with torch.device("meta"):
        return {key: value.shape for key, value in timm.create_model("resnet18").state_dict().items()}


def resnet50() -> dict[str, Any]:
    """As in the file of VGGFace2: the trunk of GSDNet's schema, and a head."""
    trunk = {key.removeprefix("resnet."): shape for key, shape in shapes_of("gsdnet").items()}
    kept = {key: shape for key, shape in trunk.items() if key.startswith(("conv1.", "bn1.", "layer"))}
    return {**kept, "fc.weight": (8631, 2048), "fc.bias": (8631,)}


def mobilefacenet() -> dict[str, Any]:
    shapes = shapes_of("posterv2")
    prefix = "face_landback."
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


def mixed_feature_net() -> dict[str, Any]:
    """The names of the pickled module: those of DDAMFN's trunk by their original names, and a head."""
    places = ("conv1", "conv2_dw", "conv_23", "conv_3", "conv_34", "conv_4", "conv_45", "conv_5", "conv_6_sep")
    trunk = {
        key.replace(f"features.{index}.", f"{place}.", 1): shape
        for index, place in enumerate(places)
        for key, shape in shapes_of("ddamfn").items()
        if key.startswith(f"features.{index}.")
    }
    return {**trunk, "conv_6_dw.conv.weight": (512, 1, 7, 7), "linear.weight": (256, 512), "bn.weight": (256,)}


def swin() -> dict[str, Any]:
    prefix = "encoder."
    return {key.removeprefix(prefix): shape for key, shape in shapes_of("lnsunet").items() if key.startswith(prefix)}


STARTS: dict[str, tuple[Any, str, tuple[str, ...], int]] = {
    # entries of the file, a peer, its trunk, dropped entries
    "resnet18_msceleb": (resnet18, "dan_resnet18", PREFIXES, 2),
    "vgg_msceleb_resnet50_ft": (resnet50, "gsdnet_resnet50", PREFIXES, 2),
    "mobilefacenet_model_best": (mobilefacenet, "poster_v2_ir50", ("landmarks.",), 0),
    "MFN_msceleb": (mixed_feature_net, "ddamfn", PREFIXES, 3 + 34 * 6),
    "start_0": (swin, "lnsu_swin_tiny", PREFIXES, 31),
}


@pytest.mark.parametrize("name", STARTS)
def test_names_and_shapes_of_a_start_are_those_of_the_trunk(name: str) -> None:
    shapes, peer, prefixes, dropped = STARTS[name]
    entries = read_entries(meta(shapes()))
    with torch.device("meta"):
        own = qcs.create_model(peer).state_dict()
    wanted = {key: value.shape for key, value in own.items() if key.startswith(prefixes)}
    assert {key: value.shape for key, value in entries.state.items()} == wanted
    assert sum(entries.dropped.values()) == dropped == len(shapes()) - len(wanted)
    assert peer in fitting_names(entries)


def random_resnet18() -> dict[str, Tensor]:
    return timm.create_model("resnet18").state_dict()


def test_a_start_fills_the_trunk_and_what_begins_equal_to_it() -> None:
    state = random_resnet18()
    model: Any = qcs.create_model("ada_df_resnet18")
    with pytest.raises(InputError, match="holds a backbone alone: load it into ada_df_resnet18 with part='backbone'"):
        qcs.load_checkpoint(model, {"state_dict": state})
    loaded = qcs.load_checkpoint(model, {"state_dict": state}, part="backbone")
    assert (loaded.matched, loaded.dropped) == (120, {"head of the face-recognition network, unused": 2})
    assert loaded.fresh == len([key for key in model.state_dict() if "head." in key])
    assert torch.equal(model.stages[3][1].conv2.weight, state["layer4.1.conv2.weight"])
    assert torch.equal(model.auxiliary.stages[2][1].conv2.weight, state["layer4.1.conv2.weight"])


def test_a_start_of_another_peer_is_refused() -> None:
    with pytest.raises(InputError, match=r"does not fit lnsu_swin_tiny: .* missing: .* unexpected: .*"):
        qcs.load_checkpoint(qcs.create_model("lnsu_swin_tiny"), random_resnet18(), part="backbone")


def test_a_start_converts_to_a_file_that_says_what_is_missing(tmp_path: Path) -> None:
    torch.save({"state_dict": random_resnet18()}, tmp_path / "resnet18_msceleb.pth")
    with pytest.raises(InputError, match=r"its shapes are those of ada_df_resnet18 or dan_resnet18"):
        qcs.models.convert_checkpoint(tmp_path / "resnet18_msceleb.pth")
    files = [tmp_path / f"{number}.safetensors" for number in (1, 2)]
    for file in files:
        done = qcs.models.convert_checkpoint(tmp_path / "resnet18_msceleb.pth", "ada_df_resnet18.raf_db", file)
    assert done.loaded.fresh == 8 and str(done.loaded).endswith("8 entries of the network stay fresh")
    first, second = (qcs.load_model(file).state_dict() for file in files)
    assert all(torch.equal(value, second[key]) for key, value in first.items())  # the random entries, too
    with pytest.raises(InputError, match="two of the checkpoints fill the same trunk"):
        qcs.models.convert_checkpoint(
            [tmp_path / "resnet18_msceleb.pth"] * 2, "ada_df_resnet18.raf_db", tmp_path / "3.safetensors"
        )


@pytest.mark.slow
def test_poster_starts_from_two_files(tmp_path: Path) -> None:
    poster: Any = qcs.create_model("poster_ir50_small", depth=1)
    trunk = {key: value for key, value in poster.state_dict().items() if key.startswith(PREFIXES)}
    landmarks = {key: value for key, value in poster.state_dict().items() if key.startswith("landmarks.")}
    other: Any = qcs.create_model("poster_ir50_small", depth=1)
    first = qcs.load_checkpoint(other, trunk, part="backbone")
    second = qcs.load_checkpoint(other, landmarks, part="backbone")
    filled = {**trunk, **landmarks}
    assert first.matched + second.matched == len(filled)
    assert all(torch.equal(value, filled[key]) for key, value in other.state_dict().items() if key in filled)


def test_tags_name_the_classes_that_the_official_lists_have() -> None:
    tagged = ("poster_ir50.raf_db", "poster_ir50.affectnet7", "ada_df_resnet18.raf_db", "ada_df_resnet18.affectnet7")
    untagged = ("ada_df_resnet18.untrained", "mfer_convnext_base.untrained")
    named = {name: get_pretrained_cfg_value(name, "label_names") for name in (*tagged, *untagged)}
    assert named["poster_ir50.raf_db"] == named["ada_df_resnet18.raf_db"] == qcs.data.CLASSES["raf_db"]
    assert named["poster_ir50.affectnet7"] == named["ada_df_resnet18.affectnet7"] == qcs.data.CLASSES["affectnet7"]
    assert not named["ada_df_resnet18.untrained"] and not named["mfer_convnext_base.untrained"]
