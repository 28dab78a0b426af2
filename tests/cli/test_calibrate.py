"""`qcs calibrate`, and that prediction, evaluation and export use what it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import toy
from commands import Run, contents, fails
from PIL import Image
from safetensors import safe_open

import qcs
from qcs.data import LabeledImages
from qcs.engine import classify
from qcs.engine.calibration import calibrate_weights, logits_of
from qcs.export import export_model, load_export
from qcs.models import load_model
from qcs.models.weights import EMBEDDED

IMAGES = 90


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, trained: Path) -> Path:
    """Images with labels drawn from a distribution of half the temperature of the network's."""
    images, labels = toy.squares(IMAGES, seed=7)
    logits = logits_of(load_model(trained), LabeledImages(images, labels, toy.CLASSES))
    labels = torch.multinomial((2 * logits).softmax(-1), 1, generator=torch.Generator().manual_seed(0))[:, 0].numpy()
    path = tmp_path_factory.mktemp("data") / "faces.npz"
    np.savez(path, images=images, labels=np.array(toy.CLASSES)[labels], split=np.repeat([1, 2], IMAGES - 20)[:IMAGES])
    return path


@pytest.fixture
def weights(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_the_calibration_is_written_into_the_run_and_used_from_then_on(run: Run, weights: Path, data: Path) -> None:
    face = Image.fromarray(toy.squares(1)[0][0])
    plain = load_model(weights)
    before = classify(plain, face).probabilities
    done = run("calibrate", weights, "--data", data)
    assert (done.status, done.err) == (0, ""), done
    assert f"wrote {weights / 'best.safetensors'}\n" in done.out
    model = load_model(weights)
    assert model.calibration is not None and model.calibration.votes is None
    assert f"{model.calibration!r}" in done.out
    after = classify(model, face).probabilities
    scaled = torch.tensor(before).log() / model.calibration.label.temperature
    np.testing.assert_allclose(after, scaled.softmax(-1), atol=1e-5)
    np.testing.assert_allclose(qcs.predict(face, weights=model, detect=False).probabilities, after, atol=1e-6)


def test_evaluation_shows_scores_before_and_after(run: Run, weights: Path, data: Path) -> None:
    alone = run("evaluate", weights, "--data", data, "--output", "plain")
    assert "uncalibrated" in alone.out and " calibrated" not in alone.out
    run("calibrate", weights, "--data", data)
    done = run("evaluate", weights, "--data", data, "--output", "now", "--split", "validation")
    assert done.status == 0, done.err
    record = json.loads(Path("now/faces-validation.json").read_text())
    scores = record["probabilities"]
    assert scores["calibrated"]["nll"] < scores["uncalibrated"]["nll"]
    assert record["loss"] == pytest.approx(scores["calibrated"]["nll"], abs=1e-5)
    assert record["calibration"]["images"] == IMAGES - 20
    for name in ("uncalibrated", "calibrated"):
        assert f"{scores[name]['ece']:.4f}" in done.out and f"{scores[name]['nll']:.4f}" in done.out


def test_votes_calibrate_their_distribution_too(run: Run, trained: Path, tmp_path: Path) -> None:
    images, labels = toy.squares(80)
    votes = np.zeros((80, 10), np.uint8)
    votes[np.arange(80), np.array([1, 3, 4])[labels]] = 7  # happiness, sadness, anger in the order of FERPlus
    votes[np.arange(80), np.array([3, 4, 1])[labels]] = 3
    np.savez(tmp_path / "votes.npz", images=images, votes=votes, split=np.ones(80, np.uint8))
    done = run("calibrate", trained, "--data", tmp_path / "votes.npz", "--output", "voted.safetensors")
    assert done.status == 0, done.err
    found = load_model("voted.safetensors").calibration
    assert found is not None and found.votes is not None
    assert f"distribution of the votes: {found.votes}\n" in done.out


def test_vector_scaling_is_a_choice(weights: Path, data: Path) -> None:
    done = calibrate_weights(str(weights), str(data), method="vector")
    assert len(done.calibration.label.bias) == 3
    assert done.after.nll < done.before.nll


def test_exported_files_give_calibrated_probabilities(weights: Path, data: Path, tmp_path: Path) -> None:
    calibrate_weights(str(weights), str(data))
    model = load_model(weights)
    done = export_model(model, tmp_path / "nano.pt2", format="torch-export")
    loaded = load_export(done.path)
    images = torch.randn(3, 3, 48, 48)
    with torch.inference_mode():
        wanted = model.calibration.label(model(images)).softmax(-1)  # type: ignore[union-attr]
    torch.testing.assert_close(torch.tensor(loaded.run(images.numpy())).softmax(-1), wanted, atol=1e-5, rtol=0)
    assert model.calibration is not None
    assert loaded.metadata["calibration"]["label"]["scale"] == pytest.approx(list(model.calibration.label.scale))
    assert loaded.metadata["calibration"]["applied"] == "in the graph"


def test_bad_input_is_one_line_and_changes_no_file(run: Run, weights: Path, data: Path, tmp_path: Path) -> None:
    few = toy.archive(tmp_path / "few.npz")
    before, shipped = contents(weights), sorted(EMBEDDED.iterdir())
    fails(run("calibrate", weights, "--data", few), r".*few.npz has 12 images to calibrate with; expected at least 50")
    fails(run("calibrate", "qcs_small", "--data", data), "qcs_small is not a file or folder of yours; name a .*")
    fails(
        run("calibrate", weights, "--data", data, "--method", "magic"), "method must be one of temperature, vector; .*"
    )
    fails(
        run("calibrate", weights, "--data", data, "--output", "a.txt"), "the output is a weights file and must end .*"
    )
    fails(run("calibrate", weights, "--data", data, "--split", "train"), r".*faces.npz has no train split; .*")
    assert contents(weights) == before and sorted(EMBEDDED.iterdir()) == shipped
    with safe_open(weights / "best.safetensors", "pt") as file:
        assert '"calibration"' not in file.metadata()["qcs"]
