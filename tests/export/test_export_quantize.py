"""Calibration images: which ones, and how they are prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from timm.data import resolve_model_data_config

import qcs
from qcs.data import eval_transform
from qcs.errors import InputError
from qcs.export import quantize
from qcs.export.quantize import calibration_images


def test_training_images_are_taken_as_the_network_takes_them(tmp_path: Path) -> None:
    model = qcs.create_model("base_nano", in_chans=1)
    images = calibration_images(str(toy.archive(tmp_path / "faces.npz")), model)
    transform = eval_transform(resolve_model_data_config(model))
    train = toy.splits("train")["train"]
    wanted = torch.stack([transform(train.image(row)) for row in range(len(train))])
    assert images.shape == (36, 1, 48, 48)
    distances = torch.cdist(images.flatten(1), wanted.flatten(1))
    assert (distances.argmin(1).sort().values == torch.arange(36)).all()
    assert distances.amin(1).max() < 0.1


def test_the_same_few_are_taken_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "CALIBRATION_IMAGES", 5)
    model = qcs.create_model("base_nano")
    data = str(toy.tree(tmp_path / "faces", "train") / "train")
    first, again = calibration_images(data, model), calibration_images(data, model)
    assert len(first) == 5
    assert torch.equal(first, again)


def test_images_that_are_for_testing_are_not_used(tmp_path: Path) -> None:
    data = toy.archive(tmp_path / "faces.npz", "test", labels=np.array(toy.CLASSES)[np.arange(15) % 3])
    with pytest.raises(InputError, match=r"no training images to calibrate with; it has the splits test$"):
        calibration_images(str(data), qcs.create_model("base_nano"))
