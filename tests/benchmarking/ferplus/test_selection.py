"""The rule that chooses weights for the package: its conditions, its images, and the offsets in the last layer."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from PIL import Image

import qcs
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.selection import (
    HOME,
    PARTS,
    Candidate,
    choose,
    class_offsets,
    images_to_select_on,
    select,
    selected,
    shifted,
)
from qcs.engine.training import train
from qcs.errors import InputError

BEFORE = {HOME: dict(accuracy=0.8, balanced_accuracy=0.6), "muxspace, film": dict(accuracy=0.3, balanced_accuracy=0.2)}


def candidate(accuracy: float, balanced: float, elsewhere: float = 0.3, part: float = 0.0) -> Candidate:
    home = dict(accuracy=accuracy, balanced_accuracy=balanced)
    return Candidate(
        "run", "best", part, {HOME: home, "muxspace, film": dict(accuracy=elsewhere, balanced_accuracy=0.0)}
    )


@pytest.mark.parametrize(
    "refused", [candidate(0.8, 0.9), candidate(0.9, 0.59), candidate(0.9, 0.9, elsewhere=0.29)], ids=str
)
def test_every_condition_can_refuse(refused: Candidate) -> None:
    assert choose([refused], BEFORE) is None
    assert choose([refused, candidate(0.81, 0.6)], BEFORE) == candidate(0.81, 0.6)


def test_the_highest_mean_wins_and_of_equal_ones_the_smaller_part() -> None:
    first, second, equal = candidate(0.82, 0.7), candidate(0.84, 0.7, part=0.5), candidate(0.84, 0.7, part=0.25)
    assert choose([first, second, equal], BEFORE) is equal


def test_shifted_probabilities_are_those_of_shifted_logits() -> None:
    logits, offsets = torch.randn(5, 3), torch.tensor([0.5, -1.0, 0.0])
    found = shifted(logits.softmax(-1).numpy(), offsets.double().numpy())
    np.testing.assert_allclose(found, (logits + offsets).softmax(-1).numpy(), rtol=1e-5)


@pytest.fixture
def listed(folder: Path, tmp_path: Path) -> Path:
    """Few training images of one class, and people from two sources, one of which has a validation part."""
    with np.load(folder / "ferplus.npz") as archive:
        kept = ~((archive["split"] == 0) & (archive["votes"].argmax(1) == 1) & (np.arange(len(archive["split"])) < 90))
        np.savez(tmp_path / "ferplus.npz", **{key: archive[key][kept] for key in archive.files})
    (tmp_path / "muxspace").mkdir()
    pictures, kinds = toy.squares(8, seed=7)
    rows = []
    for row, (image, kind) in enumerate(zip(pictures, kinds, strict=True)):
        Image.fromarray(image).convert("RGB").save(tmp_path / "muxspace" / f"{row}.png")
        source = "news" if row < 4 else "film"
        part = "val" if row == 1 else "train"
        rows.append([f"{row}.png", toy.CLASSES[kind], f"person{row // 2}", part, source])
    with (tmp_path / "muxspace" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label", "subject", "split", "source"], *rows])
    return tmp_path


def test_images_to_select_on_are_a_split_or_every_second_person(listed: Path) -> None:
    data = Data(listed)
    assert sorted(Path(name).name for name in data.muxspace.names[data.for_selection]) == ["1.png", "6.png", "7.png"]
    found = images_to_select_on(data)
    assert {key: len(images) for key, images in found.items()} == {HOME: 15, "muxspace, film": 2, "muxspace, news": 1}


def test_offsets_lead_from_the_drawn_classes_to_those_of_the_training_images(listed: Path) -> None:
    counts = Data(listed).official["train"].class_counts()
    config = toy.settings(data="x.npz", balance="class")
    offsets = class_offsets(config, Data(listed), ("happy", "sad", "anger", "contempt"))
    shares = np.array([counts[name] for name in ("happy", "sad", "anger")]) / sum(counts.values())
    np.testing.assert_allclose(offsets[:3], np.log(shares * 3))
    assert offsets[3] == 0 and shares.min() < 0.2
    assert not class_offsets(toy.settings(data="x.npz"), Data(listed), ("happy", "sad")).any()


def test_a_choice_is_recorded_and_its_offsets_are_in_the_network(listed: Path, tmp_path: Path) -> None:
    data = Data(listed)
    splits = {"train": data.vote_shares(), "validation": data.official["validation"]}
    settings = toy.settings(output=str(tmp_path / "run"), data="x.npz", epochs=1, balance="class", in_chans=1)
    run = train(settings, splits).folder
    trained = qcs.load_model(run / "best.safetensors")
    worst: Any = qcs.load_model(run / "best.safetensors")
    with torch.no_grad():
        worst.base.head.bias += torch.tensor([0.0] * 7 + [1e4])  # always contempt, which no image shows
    path = select([run], "base_nano.ferplus", data, worst, tmp_path)
    record = json.loads(path.read_text())
    found = {candidate["part"]: candidate for candidate in record["candidates"]}
    assert len(record["candidates"]) == 10 and found.keys() == {*PARTS}
    assert record["in the package"][HOME]["accuracy"] == 0
    chosen = record["chosen"]
    chosen["offsets"]["happy"] += 1.0
    images = torch.randn(2, 1, 48, 48)
    offsets = torch.tensor([chosen["offsets"][name] for name in trained.class_names])
    expected = (trained(images) + offsets) / chosen["temperature"]
    torch.testing.assert_close(selected(run, record)(images), expected)


def test_weights_that_changed_or_that_nobody_chose_are_refused(tmp_path: Path) -> None:
    run = train(toy.settings(output=str(tmp_path / "run"), epochs=1), toy.splits()).folder
    with pytest.raises(InputError, match="ship none"):
        selected(run, {"chosen": None})
    with pytest.raises(InputError, match="is not what was selected"):
        selected(run, {"chosen": {"run": "run", "epoch": "last"}, "weights": {"run/last": "0"}})
