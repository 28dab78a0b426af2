"""Files that cannot be right end a command in one line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import toy
from commands import Run, fails

import qcs
from qcs.models import save_model


def test_weights_that_are_not_finite_are_refused(run: Run, tmp_path: Path) -> None:
    model = qcs.create_model("base_nano")
    torch.nn.init.constant_(model.get_classifier().weight, math.nan)
    path = save_model(model, tmp_path / "diverged.safetensors")
    said = (
        r".*diverged\.safetensors holds values that are not finite in base\.head\.weight: the training diverged or .*"
    )
    fails(run("predict", path, tmp_path, "--no-detect"), said)


@pytest.mark.parametrize("tta", [[], ["--tta"]])
def test_answers_that_overflow_end_a_command_in_one_line(run: Run, tmp_path: Path, tta: list[str]) -> None:
    model = qcs.create_model("base_nano", num_classes=3)
    model.name_classes(toy.CLASSES)
    torch.nn.init.constant_(model.get_classifier().weight, 1e38)  # finite, its products with features are not
    path, photos = save_model(model, tmp_path / "huge.safetensors"), tmp_path / "photos"
    toy.photos(photos, 2)
    said = r"the network gives (probabilities|logits or a loss) that are not finite: its weights hold .* load other .*"
    fails(run("predict", photos, "--weights", path, "--no-detect", "--output", "out.json", *tta), said)
    fails(run("evaluate", path, "--data", toy.archive(tmp_path / "faces.npz"), *tta), said)
    assert not list(tmp_path.glob("*.json"))
