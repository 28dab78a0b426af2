"""The record of the weights in the package: figures that are known by hand, and the committed record is of the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.ferplus import weights_page
from benchmarks.ferplus.audit import audit, lineage, paired, read_records
from benchmarks.ferplus.copies import copied, counts
from benchmarks.ferplus.corruptions import CORRUPTIONS, OCCLUSIONS
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.estimates import at_temperature, best_temperature, chosen, estimates
from benchmarks.ferplus.looks import read_looks
from benchmarks.ferplus.run import RESULTS
from qcs.data import LabeledImages
from qcs.engine.prediction_file import Predictions
from qcs.files import sha256
from qcs.models.weights import EMBEDDED

RECORDS: dict[str, dict[str, Any]] = {record["name"]: record for record in read_records(RESULTS)}
RECORD = RECORDS["qcs_small.ferplus"]


def shown(probabilities: Any, labels: list[int]) -> Predictions:
    names = np.array([str(row) for row in range(len(labels))])
    return Predictions(np.float32(probabilities), np.array(labels), names, ("happy", "sad"))


def test_figures_are_those_computed_by_hand_and_lie_in_their_intervals() -> None:
    found = estimates(shown([[0.9, 0.1]] * 3 + [[0.2, 0.8]], [0, 0, 1, 1]))
    assert found["images"] == 4 and found["per_class"] == {"happy": [2, 2], "sad": [1, 2]}
    assert found["accuracy"][0] == found["balanced_accuracy"][0] == 0.75
    assert found["nll"][0] == pytest.approx(-(2 * np.log(0.9) + np.log(0.1) + np.log(0.8)) / 4)
    # Two bins: 0.9 three times with accuracy 2/3, and 0.8 once, right.
    assert found["ece"][0] == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * 0.2, abs=1e-6)
    assert found["overconfidence"][0] == pytest.approx((0.9 * 3 + 0.8) / 4 - 0.75)
    assert all(low <= value <= high for value, low, high in (found[name] for name in ("accuracy", "nll")))


def test_intervals_over_people_are_wider_than_over_images() -> None:
    once = shown([[0.9, 0.1]] * 40, [0] * 20 + [1] * 20)
    people = Predictions(*(getattr(once, name) for name in ("probabilities", "labels", "names", "classes")))
    people = Predictions(
        people.probabilities, people.labels, people.names, people.classes, np.repeat([str(n) for n in range(4)], 10)
    )
    widths = [high - low for _, low, high in (estimates(each)["accuracy"] for each in (once, people))]
    assert widths[1] > 1.5 * widths[0]


def test_the_temperature_undoes_a_known_one_and_keeps_the_classes() -> None:
    generator = np.random.default_rng(0)
    right = generator.dirichlet((1, 1), 4000)
    labels = [int(generator.random() > p) for p, _ in right]
    cold = at_temperature(shown(right, labels), 0.5)
    assert best_temperature(cold) == pytest.approx(2, rel=0.1)
    assert (cold.predicted == shown(right, labels).predicted).all()
    np.testing.assert_allclose(cold.probabilities.sum(1), 1, rtol=1e-5)


def test_a_part_of_the_predictions_is_that_of_its_images() -> None:
    found = chosen(shown([[1, 0], [0, 1], [1, 0]], [0, 0, 1]), np.array([True, False, True]))
    assert (found.labels.tolist(), found.names.tolist()) == ([0, 1], ["0", "2"])


def test_copies_are_counted_as_images_and_groups_as_pictures() -> None:
    def of(*values: int) -> LabeledImages:
        pixels = np.array(values, np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
        return LabeledImages(pixels, [0] * len(values), ["happy"])

    splits = {"train": of(1, 1, 2), "validation": of(3, 4), "test": of(1, 1, 1, 3, 5)}
    found = counts(splits)
    assert (found["test in train"], found["test in validation"], found["test in any other"]) == (3, 1, 4)
    assert (found["train in test"], found["groups_across"]) == (2, 2)
    assert copied(splits["test"], splits["train"]).tolist() == [True, True, True, False, False]


def test_gains_and_losses_are_those_of_the_images() -> None:
    now, former = shown([[1, 0]] * 3, [0, 0, 1]), shown([[1, 0], [0, 1], [0, 1]], [0, 0, 1])
    assert paired(now, former) == {"images": 3, "gained": 1, "lost": 1, "p": 1.0}
    assert paired(now, former, ("sad",)) == {"images": 1, "gained": 0, "lost": 1, "p": 1.0}


def test_every_network_of_a_lineage_is_listed_once_and_after_those_it_comes_from() -> None:
    first = {"model": "base_small", "minutes": 62, "erasing": None}
    second = {"model": "qcs_small", "minutes": 85, "erasing": [0.02, 0.2]}
    third = {"model": "qcs_small", "minutes": 40, "erasing": None, "init": first, "teachers": [first, second]}
    found = lineage({**third, "minutes": 26, "init": third, "teacher_share": 0.5})
    assert [run["minutes"] for run in found] == [62, 85, 40, 26]
    assert (found[3]["init"], found[3]["teachers"], found[3]["teacher_share"]) == (2, [0, 1], 0.5)
    assert (found[0]["init"], found[0]["teachers"], found[1]["erasing"]) == (None, [], True)


def test_an_audit_measures_all_sets_and_is_in_the_log(folder: Path, tmp_path: Path) -> None:
    record = json.loads(audit(Data(folder), tmp_path, "a test").read_text())
    sets = record["networks"]["now"]["sets"]
    assert (sets["test"]["images"], sets["test, no copies"]["images"], sets["muxspace"]["images"]) == (18, 17, 6)
    assert sets["test, resized without rounding"]["nll"][0] == pytest.approx(sets["test"]["nll"][0], rel=0.05)
    assert record["copies"]["test in train"] == 1
    started, finished = read_looks(tmp_path)
    assert started["weights"] == sha256(EMBEDDED / f"{record['name']}.safetensors")
    assert finished["figures"]["accuracy"] == sets["test"]["accuracy"]


def test_weights_with_a_record_of_their_own_are_measured_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = json.loads(audit(Data(folder), tmp_path, "a test").read_text())
    own = EMBEDDED / f"{first['name']}.safetensors"
    shutil.copy(own, tmp_path / "others.ferplus.safetensors")
    monkeypatch.setattr("benchmarks.ferplus.audit.EMBEDDED", tmp_path)
    record = json.loads(audit(Data(folder), tmp_path, "a test", own, "others.ferplus").read_text())
    assert record["networks"]["former"] == first["networks"]["now"]
    assert record["former"] == "`qcs_small`" and record["paired"]["all classes"]["images"] == 18
    assert [line["what"].partition(": ")[2] for line in read_looks(tmp_path)[-4::2]] == [
        "test and muxspace, all measures",
        "test",
    ]


def test_means_over_corruptions_are_those_of_the_kinds() -> None:
    network = RECORD["networks"]["now"]
    for group, kinds in (("corruptions", CORRUPTIONS), ("unseen occlusions", OCCLUSIONS)):
        each = [network["sets"][f"test, {kind}"]["accuracy"][0] for kind in kinds]
        assert network["corrupted"][group][0] == pytest.approx(np.mean(each), abs=1e-6)


@pytest.mark.parametrize("name", RECORDS)
def test_the_committed_record_is_of_the_weights_in_the_package(name: str) -> None:
    record = RECORDS[name]
    assert record["networks"]["now"]["sha256"] == sha256(EMBEDDED / f"{name}.safetensors")
    assert {line["weights"] for line in read_looks(RESULTS)} >= {
        each.get("measured", each["sha256"]) for each in record["networks"].values()
    }


def test_pages_show_each_source_beside_the_total_and_what_became_worse() -> None:
    table = weights_page.measures(RECORD)
    assert "news photographs" in table and "film frames" in table and "all sources" in table
    text = weights_page.comparison(RECORD)
    assert "balanced accuracy fell" in text and "calibration error rose" in text
