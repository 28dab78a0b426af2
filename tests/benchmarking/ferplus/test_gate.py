"""The gate at toy size: what is frozen, what a label tells, what a restart keeps, and the table of the page."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from timm.data import resolve_model_data_config
from torch.nn import functional as F
from torch.testing import assert_close

from benchmarks.ferplus import gate as module
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.gate import Gate, Size, passes, passing, summary
from benchmarks.ferplus.run import RESULTS
from benchmarks.ferplus.vote_loss import packed, unpacked
from qcs.data import eval_transform
from qcs.errors import InputError
from qcs.samplers.class_index import ClassIndex

DOCS = Path(__file__).parents[3] / "docs"
LABELS = np.arange(30) % 3


@pytest.fixture(scope="module")
def toy_gate(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """Three steps of six images on 60 training images."""
    path = tmp_path_factory.mktemp("gate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "IMAGES_PER_STEP", 6)
        yield Gate(Data(folder), path / "results", path / "cache", Size(60, 3, draws=2), Console(quiet=True))


def test_the_tokens_are_those_of_the_base_network(toy_gate: Gate) -> None:
    validation, network = toy_gate.validation, toy_gate.network
    images = toy_gate.data.without_copies("validation")
    transform = eval_transform(resolve_model_data_config(network))
    tokens = network.forward_features(torch.stack([transform(images.image(row)) for row in range(3)]))
    assert_close(validation.of([0, 1, 2]), tokens[:, 1:], rtol=1e-3, atol=1e-3)  # half precision, without class token
    assert_close(torch.from_numpy(validation.logits[:3]), network.forward_head(tokens), rtol=1e-4, atol=1e-5)
    again = dataclasses.replace(toy_gate, size=dataclasses.replace(toy_gate.size, steps=9))
    assert (again.validation.features == validation.features).all()


@pytest.mark.slow
def test_every_form_is_run_and_a_restart_keeps_what_is_done(toy_gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: value.clone() for name, value in toy_gate.network.state_dict().items()}
    toy_gate.run(seeds=1)
    assert all(torch.equal(value, before[name]) for name, value in toy_gate.network.state_dict().items())
    records = [json.loads(path.read_text()) for path in sorted(toy_gate.results.glob("*.json"))]
    assert [record["form"] for record in records] == ["exemplars", "label-drawn", "sham"]
    for record in records:
        assert unpacked(record["measures"]["base"]["losses"]).mean() == pytest.approx(record["measures"]["base"]["nll"])
        assert record["train"]["loss"] > 0 and record["train"]["images"] == 60
    assert set(records[1]["measures"]) == {"base", "unrelated", "label-drawn"}
    assert [line.split("|")[1].strip() for line in summary(toy_gate.results).splitlines()[2:]] == [
        *("base", "sham", "exemplars", "label-drawn", "label-drawn"),
    ]
    again = toy_gate.run_one("exemplars", 0)
    assert again["measures"] == records[0]["measures"]

    monkeypatch.setattr(F, "cross_entropy", None)  # nothing is trained any more
    toy_gate.run(seeds=1)
    with pytest.raises(InputError, match="another size"):
        dataclasses.replace(toy_gate, size=Size(60, 4)).run(seeds=1)


def test_only_partners_drawn_by_label_tell_the_label() -> None:
    index, rng = ClassIndex(LABELS), np.random.default_rng(0)
    asked = np.array([0, 1, 2] * 50)
    positives, negatives, seconds = module._partners("label-drawn", index, asked, rng)
    assert (LABELS[positives] == asked).all() and (LABELS[negatives] != asked).all()
    assert (LABELS[seconds] == LABELS[negatives]).all()
    (exemplars,) = module._partners("exemplars", index, asked, rng)
    assert LABELS[exemplars].tolist() == [0, 1, 2]
    for rows in module._partners("unrelated", index, asked, rng):
        assert 0.15 < (LABELS[rows] == asked).mean() < 0.5


def record(form: str, seed: int, losses: list[float], base: list[float], kind: str) -> dict[str, Any]:
    measures = {name: {"losses": packed(values)} for name, values in (("base", base), (kind, losses))}
    return {"form": form, "seed": seed, "measures": measures}


def test_a_form_passes_only_if_its_interval_is_below_the_base(tmp_path: Path) -> None:
    base = [1.0, 1.0, 1.0, 1.0]
    better, unsure = [0.8, 0.9, 0.8, 0.9], [0.0, 1.9, 0.2, 1.6]
    assert passes([record("exemplars", seed, better, base, "exemplars") for seed in range(2)], "exemplars")
    assert not passes([record("exemplars", 0, unsure, base, "exemplars")], "exemplars")
    assert not passes([record("exemplars", 0, [2 - x for x in better], base, "exemplars")], "exemplars")

    (tmp_path / "a.json").write_text(json.dumps(record("exemplars", 0, better, base, "exemplars")))
    (tmp_path / "b.json").write_text(json.dumps(record("label-drawn", 0, unsure, base, "unrelated")))
    assert passing(tmp_path) == ("base", "sham", "exemplars")
    with pytest.raises(InputError, match="run the gate first"):
        passing(tmp_path / "none")


def test_the_page_has_the_figures_of_the_result_files() -> None:
    page = (DOCS / "experiment.md").read_text()
    assert summary(RESULTS / "gate") in page
    ratios = [level["ratio"] for level in json.loads((RESULTS / "attention" / "attended.json").read_text())["levels"]]
    assert {round(100 * ratio) for ratio in ratios} == {3}
    assert "have 3% of the norm of the tokens" in " ".join(page.split())
