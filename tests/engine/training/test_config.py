"""Settings: ranges, recipes, and the learning rate over a run."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from qcs.engine.training import TrainConfig
from qcs.errors import InputError


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"minutes": 0.0}, r"minutes must be above 0, got 0\.0"),
        ({"minutes": math.nan}, "minutes must be above 0, got nan"),
        ({"batch_size": 1}, r"batch_size must be at least 2 \(batch norm needs it in training\), got 1"),
        ({"lr": 0.0}, r"lr must be above 0, got 0\.0"),
        ({"lr": math.nan}, "lr must be above 0, got nan"),
        ({"lr_decay": 1.1}, r"lr_decay must be above 0 and at most 1, got 1\.1"),
        ({"sam_rho": -0.05}, r"sam_rho must be at least 0, got -0\.05"),
        ({"workers": -1}, "workers must be at least 0, got -1"),
        ({"validation_fraction": 0.0}, r"validation_fraction must be above 0 and at most 0\.9, got 0\.0"),
        ({"in_chans": 4}, "in_chans must be one of 1, 3; got 4"),
        ({"images_per_step": 7}, "images_per_step must be at least 8, got 7"),
        ({"teachers": "runs/first"}, r"teachers must be list\[str\], got 'runs/first'"),
        ({"seed": -1}, "seed must be from 0 to 4,294,967,295, got -1"),
        ({"resize": 0}, "resize must be at least 1, got 0"),
        ({"schedule": "step"}, "schedule must be one of exponential, cosine, annealing, annealing_steps; got 'step'"),
        ({"optimizer": "sam"}, "optimizer must be one of adamw, adam, sgd; got 'sam'"),
        ({"momentum": 1.0}, r"momentum must be at least 0 and below 1, got 1\.0"),
        ({"decay_epochs": 0}, "decay_epochs must be at least 1, got 0"),
        ({"warm_up": 1.0}, r"warm_up must be at least 0 and below 1, got 1\.0"),
        ({"lr_floor": -0.1}, r"lr_floor must be from 0 to 1, got -0\.1"),
        ({"half_period": 0}, "half_period must be at least 1, got 0"),
        ({"augmentation": "poster", "rotation": 5.0}, "augmentation=poster takes the place of rotation"),
        ({"patience_on": "loss"}, "patience_on is loss, but it needs patience; give both or neither"),
        ({"balance": "both"}, "balance must be one of none, class, square-root; got 'both'"),
        ({"negatives": "hard"}, "negatives must be one of image, class; got 'hard'"),
        ({"fraction": 2.0}, r"fraction must be above 0 and at most 1, got 2\.0"),
        ({"rotation": 200.0}, r"rotation must be from 0 to 180, got 200\.0"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be at least 0 and below 1, got 1\.0"),
        ({"teacher_share": 0.7}, "teacher_share is 0.7, but it needs teachers; give both or neither"),
        ({"crop": "tight"}, "crop must be one of fer2013, arcface, loose; got 'tight'"),
        ({"precision": "fp16"}, "precision must be one of auto, fp32, bf16; got 'fp16'"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_was_expected(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(data="faces.npz", **setting)


def test_a_recipe_gives_its_values_and_the_given_ones_replace_them() -> None:
    config = TrainConfig.from_recipe("qcs-affectnet7", data="faces.npz", lr=1e-5)
    assert (config.model, config.rotation, config.lr) == ("qcs_ir50.affectnet7", 12.0, 1e-5)


def test_an_unknown_setting_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"unknown settings learning_rate; expected some of .*lr, lr_decay"):
        TrainConfig.from_recipe("scratch", data="faces.npz", learning_rate=1e-5)


def test_the_exponential_schedule_decays_once_per_epoch() -> None:
    config = TrainConfig(data="faces.npz", lr=4e-6, schedule="exponential")
    for epoch in (0, 1, 2, 199):
        assert config.learning_rate(epoch, 0.5) == pytest.approx(4e-6 * 0.98**epoch, rel=1e-12)
        assert config.learning_rate(epoch + 0.99, 0.5) == config.learning_rate(epoch, 0.5)


def test_the_cosine_schedule_warms_up_over_a_twentieth_and_ends_at_zero() -> None:
    config = TrainConfig(data="faces.npz", lr=1.0, schedule="cosine")
    rates = [config.learning_rate(0, step / 1000) for step in range(1001)]
    assert rates[0] == 0
    assert rates[25] == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi * 0.025)))
    assert max(range(1001), key=rates.__getitem__) == 50
    assert rates[500] == pytest.approx(0.5)
    assert rates[990] < 3e-4
    assert rates[1000] == pytest.approx(0, abs=1e-12)
    assert sorted(rates[50:], reverse=True) == rates[50:]


def test_the_rate_may_decay_every_few_epochs() -> None:
    config = TrainConfig(data="faces.npz", lr=0.1, lr_decay=0.1, decay_epochs=10)
    assert [config.learning_rate(epoch, 0) for epoch in (0, 9.9, 10, 39)] == pytest.approx([0.1, 0.1, 0.01, 1e-4])


def test_the_cosine_schedule_may_end_above_zero_and_start_at_once() -> None:
    config = TrainConfig(data="faces.npz", lr=1.0, schedule="cosine", warm_up=0.0, lr_floor=0.01)
    assert [config.learning_rate(0, done) for done in (0, 0.5, 1)] == pytest.approx([1, 0.505, 0.01])


@pytest.mark.parametrize("unit", ["annealing", "annealing_steps"])
def test_annealing_is_that_of_pytorch_and_rises_again(unit: Any) -> None:
    config = TrainConfig(data="faces.npz", lr=0.1, schedule=unit, half_period=4)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for done in range(12):
        place = (done + 0.5, 0.0, 0) if unit == "annealing" else (0.0, 0.0, done)
        assert config.learning_rate(*place) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step(), schedule.step()


@pytest.mark.parametrize(("branches", "anchors"), [(1, 96), (2, 48), (4, 24)])
def test_by_default_every_network_sees_as_many_images_per_step_as_published(branches: int, anchors: int) -> None:
    assert TrainConfig(data="faces.npz").anchors_per_step(branches) == anchors
    assert TrainConfig(data="faces.npz", batch_size=10).anchors_per_step(branches) == 10


def test_the_run_folder_is_the_given_one_or_named_after_model_and_time() -> None:
    assert str(TrainConfig(data="faces.npz", output="mine").folder("1984")) == "mine"
    assert TrainConfig(data="faces.npz", model="dcs_nano").folder("1984").as_posix() == "runs/dcs_nano-1984"
