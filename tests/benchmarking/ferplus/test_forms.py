"""The second classifiers differ in nothing but what they compare, and partners are drawn as stated."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import qcs
from benchmarks.ferplus.forms import FORMS, CrossPart, Form, partners_by_label, partners_in_batch
from qcs.samplers.class_index import ClassIndex

LABELS = np.array([0, 1, 2, 0, 0, 1, 2, 1, 0, 0])  # the first three are one of each class


def parts() -> dict[Form, CrossPart]:
    base = qcs.create_model("base_nano", num_classes=3)
    made = {}
    for form in FORMS:
        torch.manual_seed(0)
        made[form] = CrossPart(form, base)
    return made


def test_the_forms_have_equal_initial_weights_and_differ_by_the_gain_alone() -> None:
    weights = {form: part.state_dict() for form, part in parts().items()}
    gains = {name for name in weights["label-drawn"] if name.endswith("theta")}
    assert len(gains) == 3
    for form in get_args(Form):
        assert weights[form].keys() - gains == weights["sham"].keys()
        for name, value in weights["sham"].items():
            assert_close(weights[form][name], value, rtol=0, atol=0)


def test_only_the_sham_does_not_depend_on_its_partners() -> None:
    features, others = torch.randn(10, 108, 64), torch.randn(10, 108, 64)
    for form, part in parts().items():
        part.eval()
        results = [
            part(features[3:], partners_in_batch(form, torch.cat([tokens[:3], features[3:]]), LABELS, 3, (0, 0)))
            for tokens in (features, others)
        ]
        assert results[0].shape == (7, 3)
        assert torch.equal(*results) == (form == "sham")


def test_partners_by_label_are_of_the_class_and_of_another() -> None:
    anchors = np.arange(3, 10)
    index = ClassIndex(LABELS)
    for seed in range(20):
        p, n, n2 = partners_by_label(index, anchors, np.random.default_rng(seed))
        assert (LABELS[p] == LABELS[anchors]).all() and (p != anchors).all()
        assert (LABELS[n] != LABELS[anchors]).all()
        assert (LABELS[n2] == LABELS[n]).all() and (n2 != n).all()


def test_exemplars_are_the_same_for_all_images_and_label_drawn_partners_depend_on_the_seed() -> None:
    features = torch.randn(10, 4, 2)
    (exemplars,) = partners_in_batch("exemplars", features, LABELS, 3, (0, 0))
    assert torch.equal(exemplars, features[:3])
    draws = [torch.cat(partners_in_batch("label-drawn", features, LABELS, 3, (0, step))) for step in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(qcs.errors.InputError, match="form must be one of sham, exemplars, label-drawn"):
        CrossPart("pairs", qcs.create_model("base_nano", num_classes=3))  # type: ignore[arg-type]
