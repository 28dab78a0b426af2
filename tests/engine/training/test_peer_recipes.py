"""The recipes of other methods equal their specification, row by row, and the table on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import qcs
from qcs.data import CLASSES
from qcs.engine.training import TrainConfig
from qcs.engine.training.objective import build_objective
from qcs.engine.training.peer_recipes import CROSSVAL, DATA, OFFICIAL

PAGE = Path(__file__).resolve().parents[3] / "docs" / "peers.md"

# Optimizer, learning rate, weight decay, SAM, factor and epochs of the exponential schedule, epochs, batch, anchors,
# input, augmentation, as the scripts of the official repositories have them.
SPECIFIED: dict[str, tuple[Any, ...]] = {
    "dan-raf_db": ("sgd", 0.1, 1e-4, 0, 0.1, 10, 40, 256, "none", 224, "dan-raf_db"),
    "dan-affectnet7": ("adam", 1e-4, 0, 0, 0.6, 1, 40, 256, "class", 224, "dan-affectnet"),
    "dan-affectnet8": ("adam", 1e-4, 0, 0, 0.6, 1, 40, 256, "class", 224, "dan-affectnet"),
    "ddamfn-raf_db": ("sgd", 0.01, 1e-4, 0, 0.1, 10, 40, 256, "none", 112, "ddamfn-raf_db"),
    "ddamfn-ferplus": ("sgd", 0.01, 1e-4, 0, 0.1, 10, 80, 256, "none", 112, "ddamfn-ferplus"),
    "ddamfn-affectnet7": ("adam", 1e-4, 0, 0, 0.6, 1, 40, 256, "class", 112, "ddamfn-affectnet"),
    "ddamfn-affectnet8": ("adam", 1e-4, 0, 0, 0.6, 1, 40, 256, "class", 112, "ddamfn-affectnet"),
    "ddamfn_pp-raf_db": ("adam", 5e-4, 0, 0.05, 0.9, 1, 60, 128, "none", 112, "ddamfn_pp-raf_db"),
    "ddamfn_pp-affectnet7": ("adam", 1e-5, 0, 0.05, 0.98, 1, 200, 256, "class", 112, "ddamfn_pp-affectnet"),
    "ddamfn_pp-affectnet8": ("adam", 1e-5, 0, 0.05, 0.98, 1, 200, 256, "class", 112, "ddamfn_pp-affectnet"),
    "ada_df-raf_db": ("adam", 1e-3, 0, 0, 0.9, 1, 75, 64, "none", 224, "ada_df"),
    "ada_df-affectnet7": ("adam", 1e-3, 0, 0, 0.9, 1, 75, 64, "class", 224, "ada_df"),
    "ada_df-sfew": ("adam", 1e-3, 0, 0, 0.9, 1, 75, 16, "none", 224, "ada_df-sfew"),
    "poster-raf_db": ("adam", 4e-5, 0, 0.05, 0.98, 1, 300, 200, "none", 224, "poster"),
    "poster-affectnet7": ("adam", 2e-6, 0, 0.05, 0.98, 1, 300, 200, "class", 224, "poster"),
    "poster_v2-raf_db": ("adam", 3.5e-5, 0, 0.05, 0.98, 1, 200, 144, "none", 224, "poster_v2-raf_db"),
    "poster_v2-caer_s": ("adam", 4e-5, 0, 0.05, 0.98, 1, 200, 144, "none", 224, "poster_v2"),
    "poster_v2-affectnet7": ("adam", 1e-6, 0, 0.05, 0.98, 1, 200, 144, "class", 224, "poster_v2"),
    "poster_v2-affectnet8": ("adam", 1e-6, 0, 0.05, 0.98, 1, 200, 144, "class", 224, "poster_v2"),
    "lnsu-raf_db": ("adamw", 3.125e-5, 0.05, 0, None, None, 156, 32, "none", 112, "lnsu"),
    "gsdnet": ("adam", 1e-4, 1e-4, 0, 0.9, 1, 40, 64, "none", 224, "gsdnet"),
    "mfer": ("adamw", 1e-3, 0.01, 0, 0.95, 1, 100, 32, "none", 224, "resize"),
}
# Batch (with accumulated ones), epochs or steps to the minimum of the cosine, pixels, by data set.
CELLS = {
    "poster": "128/20/224 128/20/224 64/20/224 64/20/224 32/100/112 32/100/224",
    "dan": "128/20/224 64/20/224 64/20/224 64/20/224 32/100/112 32/100/224",
    "ddamfn": "128/20/112 64/20/112 64/20/112 64/20/112 32/100/112 32/100/112",
    "ada_df": "128/20/224 128/20/224 64/20/224 64/10/224 32/10/112 32/100/224",
    "lnsu": "32/100/112 32/100/112 32/100/112 32/100/112 32/100/112 32/100/112",
    "poster_v2": "32x4/100/112 32x4/100/48 32x4/100/112 32x4/100/112 32x4/100/112 32x4/100/112",
    "gsdnet": "32/100/224 32/100/224 32/100/224 32x4/100/112 32/100/224 32/100/224",
}
RATES = {"lnsu": 6.25e-5, "poster_v2": 1e-4}


def built(name: str, classes: int | None = None) -> tuple[TrainConfig, Any]:
    config = TrainConfig.from_recipe(name, data="faces.npz")
    with torch.device("meta"):
        return config, qcs.create_model(config.model, num_classes=classes, **config.model_args)


def side_of(model: Any) -> int:
    return int(model.pretrained_cfg["input_size"][-1])


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_recipe_equals_its_row_of_the_specification(name: str) -> None:
    config, model = built(name)
    decay = (config.lr_decay, config.decay_epochs) if config.schedule == "exponential" else (None, None)
    assert (
        config.optimizer,
        pytest.approx(config.lr),
        config.weight_decay,
        config.sam_rho,
        *decay,
        config.epochs,
        config.anchors_per_step(1),
        config.balance,
        side_of(model),
        config.augmentation,
    ) == SPECIFIED[name]
    assert config.decay_all or not config.weight_decay or name.startswith("lnsu")
    assert build_objective(config, model, dict.fromkeys(map(str, range(model.num_classes)), 5)) is not None


def test_lnsu_warms_up_and_ends_as_specified() -> None:
    config, _ = built("lnsu-raf_db")
    start, top, end = (config.learning_rate(0, step / 60_000) for step in (1000, 2000, 60_000))
    assert (start, top, end) == pytest.approx((3.125e-5 / 2, 3.125e-5, 3.125e-7), rel=5e-3)
    assert config.clip_grad == 5


@pytest.mark.parametrize("method", CELLS)
def test_a_recipe_of_the_comparison_equals_its_cell(method: str) -> None:
    for data, cell in zip(DATA, CELLS[method].split(), strict=True):
        name = f"{method}-{data}-crossval"
        config = TrainConfig.from_recipe(name, data="faces.npz")
        batch = f"{config.batch_size}x{config.accumulate}" if config.accumulate > 1 else config.batch_size
        assert f"{batch}/{config.half_period}/{config.model_args['img_size']}" == cell, name
        rate = 1e-3 if method == "poster_v2" and data in ("sfew", "ckplus") else RATES.get(method, 1e-3)
        assert (config.lr, config.weight_decay, config.optimizer) == (pytest.approx(rate), 1e-4, "adamw")
        assert (config.epochs, config.patience, config.sam_rho) == (100, 20, 0)
        assert config.schedule == ("annealing_steps" if method == "lnsu" else "annealing")
    assert len(CROSSVAL) == len(CELLS) * len(DATA)


def test_only_the_recipe_for_raf_db_keeps_a_center_too_many() -> None:
    for data in ("raf_db", "ferplus"):
        config, model = built(f"dan-{data}-crossval", len(CLASSES[data]))
        objective: Any = build_objective(config, model, dict.fromkeys(CLASSES[data], 5))
        assert len(objective.centers) == 8 and side_of(model) == 224  # of seven and of eight classes


def test_the_page_lists_every_official_recipe_with_its_settings() -> None:
    rows = {name: cells for cells in _rows(PAGE.read_text(encoding="utf-8")) for name in _names(cells[0])}
    for name in OFFICIAL:
        config = TrainConfig.from_recipe(name, data="faces.npz")
        shown = " | ".join(rows[name])
        for value in (
            f"{config.lr:g}",
            str(config.epochs),
            str(config.anchors_per_step(1)),
            f"{config.weight_decay:g}",
        ):
            assert re.search(rf"(?<![\\w.]){re.escape(value)}(?![\\w.])", shown), (name, value, shown)
        assert config.optimizer in shown.lower() and f"`{config.augmentation}`" in shown


def _rows(text: str) -> list[list[str]]:
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]


def _names(cell: str) -> list[str]:
    """The recipes of a row: the first, and others that differ after the first hyphen, as `-affectnet8`."""
    first, *others = re.findall(r"`([^`]+)`", cell)
    return [first, *(first.partition("-")[0] + other for other in others)]
