"""Every condition gets the same compute, and is what its name says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.ferplus.plan import GROUPS, IMAGES_PER_STEP, PLAN, ROUND, START_VIEWS, Budget, Condition, chosen, runs
from qcs.data import LabeledImages
from qcs.engine.training.build import build_model
from qcs.engine.training.data import Sources, branch_sampler
from qcs.errors import InputError

ONE_PROCESS: Any = SimpleNamespace(process_index=0, num_processes=1)
IMAGES = {
    "votes": 25_057,
    "quadruplets": 100_224,
    "random-partners": 25_057,
    "majority": 25_057,
    "fer2013": 24_973,
    "synthetic": 2450,
}


def images(count: int) -> LabeledImages:
    return LabeledImages(np.zeros((count, 1, 1), np.uint8), np.arange(count) % 7, [f"class {k}" for k in range(7)])


@pytest.mark.parametrize("condition", PLAN, ids=lambda condition: condition.name)
def test_all_conditions_have_equal_views(condition: Condition) -> None:
    """Counted from what the engine's own sampler yields."""
    views = 10 * ROUND
    budget, faces = Budget(views), images(IMAGES[condition.labels])
    config = budget.settings(condition, 0, len(faces), "run")
    sampler = branch_sampler(config, faces, condition.branches, ONE_PROCESS)
    per_step = config.anchors_per_step(condition.branches) * condition.branches
    assert per_step == IMAGES_PER_STEP
    assert len(sampler) * config.epochs == budget.steps(condition)
    assert len(sampler) * config.epochs * per_step * (2 if config.sam_rho else 1) == (
        START_VIEWS if condition.is_start else views
    )


@pytest.mark.parametrize("condition", PLAN, ids=lambda condition: condition.name)
def test_every_condition_builds_its_network(condition: Condition) -> None:
    faces = images(2450)
    config = Budget(ROUND).settings(condition, 0, ROUND, "run")
    model, _ = build_model(config, Sources(faces, faces, None, ""))
    assert model.branches == condition.branches
    assert all(model.model_args[name] == value for name, value in config.model_args.items())


def test_conditions_differ_and_are_named_once() -> None:
    settings = [str((c.family, c.settings, c.labels, c.warm, c.is_start)) for c in PLAN]
    assert len(set(settings)) == len({c.name for c in PLAN}) == len(PLAN)
    assert {c.group for c in PLAN} == GROUPS.keys()
    assert {name for c in PLAN for name in c.against} < {c.name for c in PLAN}
    assert all(c.name not in c.against for c in PLAN)


def test_a_seed_is_finished_before_the_next() -> None:
    order = [(c.name, seed) for c, seed in runs(chosen(["core"]), 2)]
    names = ["base", "base-quadruplets", "base-sam", "dcs", "qcs"]
    assert order == [(name, seed) for seed in (0, 1) for name in names]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="multiple of 19,200"):
        Budget(10_000)
    with pytest.raises(InputError, match="takes 19,200 images"):
        Budget(ROUND).settings(PLAN[0], 0, ROUND - 1, "run")
    with pytest.raises(InputError, match="unknown condition qsc"):
        chosen(["qsc"])
