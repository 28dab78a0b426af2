"""Partner images make the difference, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import qcs
from benchmarks.ferplus import partners, tables
from benchmarks.ferplus.plan import condition
from benchmarks.ferplus.run import Experiment
from qcs.branches import BranchLogits
from qcs.data import LabeledImages
from qcs.losses import JointLoss


class PartnerReader(nn.Module):
    """Its base classifier is always wrong on class 1; the cross classifier reads the class of anchor and positive."""

    branches = 4
    pretrained_cfg = qcs.create_model("qcs_nano").pretrained_cfg

    def forward(self, *images: Tensor) -> BranchLogits:
        means = torch.stack([x.mean((1, 2, 3)) for x in images])
        light = (means > 0).long()
        alike = light[0] == light[1]
        answer = torch.where(alike, light, 1 - light)  # with a partner of another class it is wrong for every image
        return BranchLogits(nn.functional.one_hot(0 * light, 2).float(), nn.functional.one_hot(answer, 2).float())


def faces(count: int) -> LabeledImages:
    labels = np.arange(count) % 2
    return LabeledImages((255 * labels).astype(np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2), labels, "ab")


def test_random_partners_remove_the_label_information() -> None:
    model: Any = PartnerReader()
    own = list(partners.batches(model, faces(240)))
    mixed = [partners._mixed(batch, seed) for seed, batch in enumerate(own)]
    assert sum(labels.numel() for _, labels in own) == 4 * 240
    for (images, labels), (others, also) in zip(own, mixed, strict=True):
        assert sorted(labels.flatten().tolist()) == sorted(also.flatten().tolist())
        assert all(bool(((x.mean((1, 2, 3)) > 0).long() == y).all()) for x, y in zip(others, also, strict=True))
        assert (labels[0] == labels[1]).all() and (labels[0] != labels[2]).all() and len(images) == 4
    assert partners._accuracy(model, own, "base") == 0.5
    assert partners._accuracy(model, own, "cross") == 1.0
    assert 0.3 < partners._accuracy(model, mixed, "cross") < 0.7


def test_gradients_are_those_of_the_mean_loss() -> None:
    model = qcs.create_model("qcs_nano", num_classes=2)
    found = partners.gradients(model, faces(96))
    sums: dict[str, Any] = {}
    for images, labels in [*partners.batches(model, faces(96))][: partners.STEPS]:
        for name in ("base", "cross"):
            model.zero_grad()
            JointLoss()(model(*images), labels)[name].backward()
            grads = torch.cat([p.grad.flatten() for p in model.backbone.parameters()])
            sums[name] = sums.get(name, 0) + grads
    assert found["gradient_ratio"] == pytest.approx(float(sums["cross"].norm() / sums["base"].norm()), rel=1e-3)
    cosine = float(torch.cosine_similarity(sums["base"], sums["cross"], dim=0))
    assert found["gradient_cosine"] == pytest.approx(cosine, abs=1e-3)
    with torch.no_grad():
        for parameter in model.distillation.parameters():
            parameter.zero_()  # a cross classifier that ignores the images
    assert partners.gradients(model, faces(96))["gradient_ratio"] == pytest.approx(0, abs=1e-6)


def test_finished_runs_are_measured_once_and_shown(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment.run_one(condition("dcs-fresh"), seed=5)
    experiment.run_one(condition("base-fresh"), seed=5)
    where = experiment.data, experiment.results, experiment.runs, Console(quiet=True)
    partners.measure_partners(*where)
    with monkeypatch.context() as patch:
        patch.setattr(partners, "measure", None)  # nothing is measured any more
        partners.measure_partners(*where)
    files = sorted(path.name for path in (experiment.results / "partners").glob("*-seed5.json"))
    assert files == ["dcs-fresh-seed5.json"]
    record = json.loads((experiment.results / "partners" / files[0]).read_text())
    page = tables.page({}, tables.read_partners(experiment.results / "partners"))
    assert f"| `dcs-fresh` | 1 | {100 * record['measures']['base']:.2f} |" in page
