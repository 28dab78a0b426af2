"""Pretrained and random start: settings that differ in the start alone, and records that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.ferplus import backbone_start
from benchmarks.ferplus.data import Data
from qcs.engine.training import TrainConfig


def test_the_starts_differ_in_the_start_alone() -> None:
    pretrained, random = (backbone_start.settings(start, 0, "x").to_dict() for start in ("pretrained", "random"))
    differing = {name for name, value in pretrained.items() if random[name] != value}
    assert differing == {"pretrained_backbone", "layer_decay"}


def test_every_run_leaves_a_record_and_is_not_run_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(start: str, seed: int, output: str) -> TrainConfig:
        return TrainConfig.from_recipe(
            "scratch",
            data="x.npz",
            model="base_nano",
            soft_labels=True,
            epochs=1,
            fraction=1.0,
            seed=seed,
            output=output,
        )

    monkeypatch.setattr(backbone_start, "settings", small)
    lines: list[str] = []
    monkeypatch.setattr(Console, "print", lambda self, text, **options: lines.append(text))
    for _ in range(2):
        backbone_start.compare(Data(folder), tmp_path, tmp_path / "runs", 1, Console())
    assert [line.partition(":")[0] for line in lines] == ["pretrained-seed0", "random-seed0"]
    rows = backbone_start.summary(backbone_start.read(tmp_path)).splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [["| pretrained", "0"], ["| random", "0"]]
