"""The recipes are the published trainings, as the original's code ran them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import qcs
from qcs.engine.training import RECIPES, TrainConfig, recipe
from qcs.engine.training.peer_recipes import PEER_RECIPES
from qcs.errors import InputError

# Learning rate, batch, epochs, dropout of base and cross classifier, anchors, share of the set per epoch, class of
# negatives, side before the crop, rotation, smallest share erased. Paper Sec. 4, and the code where they differ.
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "dcs-raf_db": (9e-6, 48, 200, 0, 0.2, "none", 1, "image", None, 0, 0.02),
    "qcs-raf_db": (4e-6, 24, 200, 0, 0, "none", 1, "image", None, 0, 0.02),
    "qcs-raf_db-finetune": (3e-6, 24, 200, 0, 0, "none", 1, "image", None, 0, 0.02),
    "dcs-ferplus": (8e-6, 24, 150, 0, 0.2, "none", 1, "image", None, 0, 0.02),
    "qcs-ferplus": (3.5e-6, 24, 150, 0, 0.2, "none", 1, "image", None, 0, 0.02),
    "qcs-ferplus-finetune": (2.5e-6, 24, 150, 0, 0.2, "none", 1, "image", None, 0, 0.02),
    "dcs-affectnet7": (9e-6, 48, 100, 0, 0.4, "class", 1 / 8, "class", 236, 12, 0.03),
    "qcs-affectnet7": (4e-6, 24, 150, 0, 0.4, "class", 1 / 12, "class", 236, 12, 0.03),
    "dcs-affectnet8": (8e-6, 48, 50, 0.2, 0.5, "class", 1 / 8, "class", None, 12, 0.02),
    "qcs-affectnet8": (4e-6, 24, 100, 0, 0, "class", 1 / 12, "class", 236, 12, 0.03),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_equals_its_column_of_the_paper(name: str) -> None:
    config = TrainConfig.from_recipe(name, data="faces.npz")
    with torch.device("meta"):
        network: Any = qcs.create_model(config.model)
    assert (
        config.lr,
        config.anchors_per_step(network.branches),
        config.epochs,
        network.model_args["base_drop_rate"],
        network.model_args["cross_drop_rate"],
        config.balance,
        config.fraction,
        config.negatives,
        config.resize,
        config.rotation,
        config.erasing and config.erasing[0],
    ) == PUBLISHED[name]
    family, dataset = name.split("-")[:2]
    assert config.model == f"{family}_ir50.{dataset}"
    assert network.num_classes == (7 if dataset in ("raf_db", "affectnet7") else 8)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_all_published_trainings_share(name: str) -> None:
    config = TrainConfig.from_recipe(name, data="faces.npz")
    assert (config.sam_rho, config.schedule, config.lr_decay) == (0.05, "exponential", 0.98)
    assert (config.color_jitter, config.erasing and config.erasing[1]) == ((0.2, 0.2, 0.2, 0.1), 0.1)
    assert (config.distillation, config.label_smoothing, config.precision, config.in_chans) == (None, 0, "fp32", 3)


def test_every_recipe_builds_a_configuration_and_there_is_one_more_for_small_networks() -> None:
    assert RECIPES.keys() - PUBLISHED.keys() - PEER_RECIPES.keys() == {"finetune", "scratch"}
    for name in RECIPES:
        assert TrainConfig.from_recipe(name, data="faces.npz").model.split(".")[0] in qcs.list_models()


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        InputError,
        match=r"unknown recipe 'raf-db'; did you mean .*raf_db.*All are dcs-raf_db, .*, scratch, and METHOD-DATA ",
    ):
        recipe("raf-db")


def test_changing_a_recipe_in_hand_does_not_change_the_recipe() -> None:
    recipe("scratch")["lr"] = 5
    assert recipe("scratch")["lr"] == 1e-3
