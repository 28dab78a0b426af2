"""Training of networks of other methods and of timm: their objectives, logged, resumed, evaluated and published."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import toy
from runs import check_equal
from safetensors.torch import load_file, save_file
from torch import nn

import qcs
from qcs.data import LabeledImages
from qcs.engine.evaluation import evaluate
from qcs.engine.run_folder import best_of
from qcs.engine.training import RunResult, TrainConfig, resume, train, trainer
from qcs.engine.training.build import build_model
from qcs.engine.training.checkpoints import Checkpoints
from qcs.engine.training.data import sources
from qcs.engine.training.objective import build_objective
from qcs.engine.training.optimizer import build_optimizer
from qcs.errors import InputError
from qcs.losses import AdaDFLoss, DANLoss, JointLoss
from qcs.losses.lnsu import balanced_weights
from qcs.publish.card import model_card
from qcs.publish.record import read_record

QUICK: dict[str, Any] = dict(model="ada_df_resnet18", model_args={"img_size": 32}, batch_size=6, epochs=1)
FEW = {"train": 12, "validation": 6, "test": 6}
TIMM: dict[str, Any] = {**QUICK, "model": "timm_any", "backbone": "test_resnet", "model_args": {"img_size": 48}}


def few() -> dict[str, LabeledImages]:
    return {split: images.subset(range(FEW[split])) for split, images in toy.splits().items()}


def run(folder: Path, **changes: Any) -> RunResult:
    return train(toy.settings(output=str(folder), **{**QUICK, **changes}), few())


def objective_of(name: str, counts: dict[str, int], **changes: Any) -> nn.Module:
    with torch.device("meta"):
        model: Any = qcs.create_model(name, num_classes=len(counts))
    return build_objective(toy.settings(model=name, **changes), model, counts)


class Killed(BaseException):
    """Takes the place of the end of the process."""


def interrupted(monkeypatch: pytest.MonkeyPatch, loss: type[nn.Module], at: int, folder: Path, **changes: Any) -> None:
    """A run that dies at its `at`-th loss, with a checkpoint after every step before."""
    original, calls = loss.forward, [0]

    def forward(self: nn.Module, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise Killed
        return original(self, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loss, "forward", forward)
        run(folder, **changes)


def test_a_peer_trains_by_its_own_objective_and_leaves_what_every_run_leaves(tmp_path: Path) -> None:
    result = run(tmp_path / "run", sam_rho=0.05)
    (record,) = result.history
    ce, kld, rank = (record[f"train_{name}_loss"] for name in ("ce", "kld", "rank"))
    assert record["train_loss"] == pytest.approx(ce + math.exp(-4 / 9) * kld + rank, rel=1e-5) and min(ce, kld) > 0
    assert 0 <= record["train_accuracy"] <= 1
    model: Any = qcs.load_model(tmp_path / "run")
    assert (model.class_names, model.pretrained_cfg["input_size"]) == (toy.CLASSES, (3, 32, 32))
    card = model_card("me/ada-df", model, read_record(tmp_path / "run"), "mit")
    assert "Adaptive Distribution Fusion" in card and "QCS: Feature Refining" not in card


def test_classes_of_the_name_order_the_labels_of_a_peer() -> None:
    config = toy.settings(**{**QUICK, "model": "dan_resnet18.raf_db"})
    model, data = build_model(config, sources(config, toy.splits()))
    assert model.class_names == data.train.classes == toy.CLASSES  # the three are not those of the name


@pytest.mark.parametrize(("name", "at"), [("ada_df_resnet18", 4), ("dan_resnet18", 4)])
def test_a_resumed_peer_ends_with_the_weights_of_one_never_interrupted(
    name: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = dict(model=name, epochs=2, checkpoint_minutes=0.0)
    loss: type[nn.Module] = AdaDFLoss if name.startswith("ada") else DANLoss
    whole = run(tmp_path / "whole", **changes)
    interrupted(monkeypatch, loss, at, tmp_path / "pieces", **changes)
    kept = Checkpoints(tmp_path / "pieces" / "checkpoints").load_newest()["objective"]
    fresh = loss(3).state_dict()
    assert kept.keys() == fresh.keys()
    assert any(not torch.equal(value, fresh[key]) for key, value in kept.items())
    check_equal(whole, resume(tmp_path / "pieces", few()))


def test_the_objective_of_ada_df_sees_every_image_once_after_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Size, list[int]]] = []
    modes: list[bool] = []
    original = trainer.end_epoch

    def end(objective: Any, model: Any, *args: Any) -> None:
        original(objective, model, *args)
        modes.append(model.training)

    monkeypatch.setattr(
        AdaDFLoss, "end_epoch", lambda _, values, labels: seen.append((values.shape, labels.bincount().tolist()))
    )
    monkeypatch.setattr(trainer, "end_epoch", end)
    run(tmp_path / "run")
    assert seen == [(torch.Size([12, 3]), [4, 4, 4])] and modes == [True]


def test_class_weights_of_lnsu_come_from_the_counts_of_the_data() -> None:
    counts = {"happy": 30, "sad": 10, "anger": 20}
    weights = objective_of("lnsu_swin_tiny", counts).class_weights
    assert torch.equal(torch.as_tensor(weights), balanced_weights(torch.tensor([30, 10, 20])))
    given = objective_of("lnsu_swin_tiny", counts, objective_args={"class_weights": [1, 2, 3]}).class_weights
    assert torch.as_tensor(given).tolist() == [1, 2, 3]


def test_settings_that_cannot_act_are_refused_by_name(tmp_path: Path) -> None:
    counts = {"happy": 3, "sad": 3}
    with pytest.raises(InputError, match="ddamfn has an objective of its own, on which label_smoothing cannot act"):
        objective_of("ddamfn", counts, label_smoothing=0.1)
    with pytest.raises(InputError, match=r"the objective of ddamfn does not take alpha=1: .*unexpected keyword"):
        objective_of("ddamfn", counts, objective_args={"alpha": 1})
    with pytest.raises(InputError, match="base_nano has no objective of its own: leave out objective_args"):
        objective_of("base_nano", counts, objective_args={"alpha": 1})
    with pytest.raises(InputError, match="ada_df_resnet18 has no backbone to freeze"):
        run(tmp_path / "run", freeze_backbone=True)
    with pytest.raises(InputError, match="ir50 classifies no expressions; train one of the networks"):
        run(tmp_path / "run", model="ir50", model_args={})


@pytest.mark.parametrize(("kind", "cls"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_the_optimizer_has_the_parameters_of_network_and_objective(kind: Any, cls: type) -> None:
    model: Any = qcs.create_model("dan_resnet18", num_classes=3)
    config = toy.settings(model="dan_resnet18", optimizer=kind, momentum=0.7, weight_decay=1e-4, decay_all=True)
    objective = model.objective()
    inner = build_optimizer(config, model, objective).optimizer
    (group,) = inner.param_groups
    assert isinstance(inner, cls) and group["weight_decay"] == 1e-4 and group.get("momentum", 0.7) == 0.7
    assert any(p is objective.centers for p in group["params"])
    exempt = build_optimizer(
        TrainConfig(**{**dataclasses.asdict(config), "decay_all": False}), model, objective
    ).optimizer
    assert sorted(each["weight_decay"] for each in exempt.param_groups) == [0, 1e-4, 1e-4]


def test_position_embeddings_are_exempt_from_weight_decay() -> None:
    model: Any = qcs.create_model("base_nano")
    config = toy.settings(weight_decay=1e-4)
    groups = build_optimizer(config, model, JointLoss()).optimizer.param_groups
    (free,) = [group["params"] for group in groups if not group["weight_decay"]]
    assert all(any(each is value for each in free) for value in (model.base.cls_token, model.base.pos_embed))
    assert not any(each is model.base.head.weight for each in free)


def test_weights_of_a_peer_start_another_training(tmp_path: Path) -> None:
    first = run(tmp_path / "first")
    config = TrainConfig.from_recipe(data="x", init=str(first.folder))
    assert (config.model, config.model_args) == ("ada_df_resnet18", {"img_size": 32})
    model, _ = build_model(config, sources(config, toy.splits()))
    kept = load_file(first.folder / "best.safetensors")
    assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())
    two = {split: images.with_classes(toy.CLASSES[:2]) for split, images in toy.splits().items()}
    model, _ = build_model(config, sources(config, two))
    other = {key for key, value in model.state_dict().items() if not torch.equal(value, kept[key])}
    assert model.num_classes == 2 and all(key.startswith(("head.fc.", "auxiliary.head.fc.")) for key in other)


def test_any_classifier_of_timm_is_a_baseline(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    overlay = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.safetensors")}}
    args = {**TIMM["model_args"], "backbone_args": overlay}
    config = toy.settings(**{**TIMM, "model_args": args}, pretrained_backbone=True)
    start, _ = build_model(config, sources(config, toy.splits()))
    assert torch.equal(start.state_dict()["model.conv1.0.weight"], state["conv1.0.weight"])
    assert isinstance(build_objective(config, start, {"a": 1, "b": 1, "c": 1}), JointLoss)
    result = run(tmp_path / "run", **TIMM, label_smoothing=0.1, ema=0.5, layer_decay=0.9)
    model: Any = qcs.load_model(result.folder)
    assert model.model_args["backbone"] == "test_resnet" and model.pretrained_cfg["input_size"] == (3, 48, 48)
    images = torch.randn(2, 3, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(qcs.models.fast_inference_model(model)(images), model(images))
    assert "a classifier of timm" in model_card("me/x", model, read_record(result.folder), None)


def test_a_network_that_timm_cannot_build_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown backbone 'resnet19'; did you mean resnet18"):
        run(tmp_path / "run", **{**TIMM, "backbone": "resnet19"})
    with pytest.raises(InputError, match=r"cannot build resnet18: TypeError: .*unexpected keyword argument 'depth'"):
        qcs.create_model("timm_any", backbone="resnet18", backbone_args={"depth": 3})


def test_the_epoch_may_be_chosen_by_the_loss() -> None:
    history = [
        {"epoch": 1, "validation_accuracy": 0.5, "validation_loss": 0.9},
        {"epoch": 2, "validation_accuracy": 0.6, "validation_loss": 1.1},
    ]
    assert (best_of(history, "accuracy")["epoch"], best_of(history, "loss")["epoch"]) == (2, 1)


def test_the_weights_of_the_chosen_epoch_are_kept(tmp_path: Path) -> None:
    result = run(tmp_path / "run", **{**TIMM, "epochs": 3}, lr=0.05, select_on="loss")
    losses = [record["validation_loss"] for record in result.history]
    assert result.best_epoch == 1 + losses.index(min(losses))
    assert result.validation.loss == pytest.approx(min(losses))


def test_early_stopping_waits_for_the_measure_that_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = evaluate, [0]

    def worse(*args: Any) -> Any:
        found = copy.copy(original(*args))
        calls[0] += 1
        object.__setattr__(found, "loss", float(calls[0]))
        return found

    monkeypatch.setattr(trainer, "evaluate", worse)
    result = run(tmp_path / "run", **{**TIMM, "epochs": 9}, patience=2, patience_on="loss")
    assert len(result.history) == 3
