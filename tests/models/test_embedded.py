"""The weights in the package: whole, small, listed, used without a network, and described as they are."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import qcs
from benchmarks.ferplus.audit import read_records
from benchmarks.ferplus.card import CARD, card
from benchmarks.ferplus.run import RESULTS
from qcs.models import weights
from qcs.models.golden import check_golden
from qcs.models.weights import read_config

FILES = sorted(weights.EMBEDDED.glob("*.safetensors"))
LIMIT = 14e6  # bytes of each file
embedded = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def test_there_are_some_and_they_are_small() -> None:
    assert "qcs_small.ferplus" in [path.stem for path in FILES]
    assert all(path.stat().st_size < LIMIT for path in FILES)


@embedded
def test_they_are_found_by_name_and_answer_as_when_they_were_measured(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "socket", None)  # whoever calls it fails
    config = read_config(path)
    channels, side, _ = config["pretrained_cfg"]["input_size"]
    for name in (path.stem, path.stem.partition(".")[0]):
        model: Any = timm.create_model(name, pretrained=True)
        assert check_golden(model, config["info"]["golden"]["logits"], channels, side) < 1e-3
        assert model.class_names == tuple(config["pretrained_cfg"]["label_names"])
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert weights.embedded_weights(path.stem) == path


@embedded
def test_their_metadata_names_no_machine(path: Path) -> None:
    settings = read_config(path)["info"]["trained_with"]
    assert settings["data"].endswith(".npz")
    assert "/" not in json.dumps(settings)


@embedded
def test_accuracy_is_that_of_all_official_test_images(path: Path) -> None:
    record = next(each for each in read_records(RESULTS) if each["name"] == path.stem)
    test = record["networks"]["now"]["sets"]["test"]
    assert test["images"] == sum(images for _, images in test["per_class"].values()) == 3152
    assert test["accuracy"][0] == pytest.approx(sum(right for right, _ in test["per_class"].values()) / 3152)


@embedded
def test_their_file_states_every_size(path: Path) -> None:
    stated = read_config(path)["model_args"]
    assert stated == json.loads(json.dumps(qcs.load_model(path).resolved_args))
    assert not [name for name, value in stated.items() if value is None]


@pytest.mark.parametrize(("name", "millions"), [("qcs_small", 3.07)])
def test_their_size_at_inference_is_that_on_the_pages(name: str, millions: float) -> None:
    model: Any = qcs.create_model(name, pretrained=True)
    assert round(sum(p.numel() for p in model.inference_model().parameters()) / 1e6, 2) == millions


@embedded
def test_other_classes_get_fresh_heads(path: Path) -> None:
    other: Any = qcs.create_model(path.stem, pretrained=True, num_classes=3)
    assert other.num_classes == 3


def test_the_card_is_of_these_files() -> None:
    assert (weights.EMBEDDED / CARD).read_text(encoding="utf-8") == card(weights.EMBEDDED)
