"""The layout of the original's checkpoints: every live entry has its place in ours, and only dead ones are left out."""

from __future__ import annotations

import pytest
import torch
from conversion import SCHEMAS, network
from original_network import flat_name, original_name
from torch import Tensor, nn

import qcs
from qcs.errors import InputError
from qcs.models.original import from_original, is_original

State = dict[str, Tensor]
SPLIT = {key.removeprefix("ir_back."): shape for key, shape in SCHEMAS["qcs_raf_db"].items() if "ir_back." in key}
FLAT = {flat_name(key): shape for key, shape in SPLIT.items()}


def on_meta(name: str, **options: int) -> nn.Module:
    with torch.device("meta"):
        return qcs.create_model(name, **options)


def entries(shapes: dict[str, list[int]]) -> State:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def original(schema: str) -> State:
    return entries(SCHEMAS[schema])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_original_layout_fits_its_network(schema: str) -> None:
    model, (ours, _) = on_meta(network(schema)), from_original(original(schema))
    shapes = {key: value.shape for key, value in ours.items()}
    assert shapes == {key: value.shape for key, value in model.state_dict().items()}


@pytest.mark.parametrize("schema", SCHEMAS)
def test_only_dead_entries_are_left_out(schema: str) -> None:
    live, dropped = from_original(original(schema))
    dead = [
        key
        for key in SCHEMAS[schema]
        if any(
            part in key
            for part in (".output_layer.", ".patch_embed.", ".eca_block.", ".CON1.", ".IRLinear", "fusion.classifier.")
        )
        or (".blocks." in key and ".conv." in key)
    ]
    assert len(SCHEMAS[schema]) - len(live) == sum(dropped.values()) == len(dead) > 0


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_way_back_by_other_code_leads_every_entry_to_where_it_came_from(schema: str) -> None:
    state = original(schema)
    back = {original_name(key): value for key, value in from_original(state)[0].items()}
    assert all(value is state[key] for key, value in back.items())
    assert len(back) == len(from_original(state)[0])


def test_entries_keep_their_place() -> None:
    names = {
        "ir_back.input_layer.2.weight": "backbone.model.stem.act.weight",
        "ir_back.body1.0.res_layer.3.weight": "backbone.model.stages.0.0.conv2.weight",
        "ir_back.body3.13.res_layer.4.running_var": "backbone.model.stages.2.13.norm2.running_var",
        "ir_back.body2.0.shortcut_layer.1.bias": "backbone.model.stages.1.0.shortcut.norm.bias",
        "conv3.bias": "tokens.reduce.2.bias",
        "embed_q.1.weight": "tokens.embed.0.1.weight",
        "embed_k.0.weight": "tokens.embed.1.0.weight",
        "embed_v.proj.weight": "tokens.embed.2.0.weight",
        "VIT_base.se_block.linear2.weight": "base.gate.linear2.weight",
        "VIT_base.blocks.1.attn.qkv.bias": "base.blocks.1.attn.qkv.bias",
        "VIT_cross.head.linear.weight": "distillation.classifier.head.weight",
        "VIT_cross.pos_embed": "distillation.classifier.pos_embed",
        "cross_attention_1.theta": "cross_modules.0.attention.theta",
        "cross_attention_2.proj.weight": "cross_modules.1.attention.proj.weight",
        "cross_attention_3.mlp.fc2.weight": "cross_modules.2.mlp.fc2.weight",
    }
    assert names.keys() <= SCHEMAS["qcs_raf_db"].keys()
    assert is_original(names)
    assert list(from_original({key: torch.zeros(1) for key in names})[0]) == list(names.values())


# ----------------------------------------------------------------------------------------------------- IR-50 by itself


@pytest.mark.parametrize("prefix", ["", "ir_back.", "backbone.", "net.face."])
@pytest.mark.parametrize("shapes", [SPLIT, FLAT], ids=["body1-3.N", "body.N"])
def test_an_ir50_is_found_in_both_namings_by_itself_and_inside(shapes: dict[str, list[int]], prefix: str) -> None:
    state = {prefix + key: value for key, value in entries(shapes).items()}
    assert is_original(state)
    live, dropped = from_original(state)
    expected = {f"backbone.model.{key}": v.shape for key, v in on_meta("ir50", num_classes=0).state_dict().items()}
    assert {key: value.shape for key, value in live.items()} == expected
    assert len(state) == 304
    assert dropped == {"head of the face-recognition network, unused": 12}


def test_both_namings_of_an_ir50_mean_the_same_units() -> None:
    split = {key: torch.tensor(number) for number, key in enumerate(SPLIT)}
    flat = {flat_name(key): value for key, value in split.items()}
    assert flat.keys() != split.keys()
    assert from_original(split) == from_original(flat)


@pytest.mark.parametrize("units", [("body.21", "body.22", "body.23"), ("body4.0", "body4.1", "body4.2")], ids=str)
def test_the_fourth_stage_of_a_whole_ir50_is_left_out(units: tuple[str, ...]) -> None:
    more = {f"{unit}.res_layer.0.weight": torch.zeros(512) for unit in units}
    state = entries(FLAT if "body.21" in units else SPLIT)
    live, dropped = from_original({**state, **more})
    assert live.keys() == from_original(state)[0].keys()
    assert dropped["fourth stage of the face-recognition network, unused"] == 3


def test_an_entry_in_both_namings_is_refused() -> None:
    with pytest.raises(InputError, match=r"two entries of the checkpoint translate to backbone.model.stages.0.0."):
        from_original(entries(SPLIT) | entries(FLAT))


@pytest.mark.parametrize(
    "keys",
    [["stem.conv.weight", "stages.0.0.conv1.weight"], ["body.0.weight"], ["layer1.0.conv1.weight"]],
    ids=lambda keys: str(keys[0]),
)
def test_other_layouts_are_not_taken_for_the_original_s(keys: list[str]) -> None:
    assert not is_original(keys)
