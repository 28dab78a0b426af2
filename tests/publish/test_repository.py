"""The folder of a repository: everything needed to use the weights, from the run's own files and nothing else."""

from __future__ import annotations

import ast
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import toy
from huggingface_hub import ModelCard
from local_hub import LocalHub
from PIL import Image
from safetensors.torch import load_file, save_file

import qcs
from qcs.data import eval_transform
from qcs.engine.evaluation import wilson
from qcs.engine.training import train
from qcs.errors import InputError
from qcs.models import load_model, save_model
from qcs.publish import push
from qcs.publish.record import read_record
from qcs.publish.repository import Publication, check_repository, write_repository


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, of data that lies in a folder with a private name."""
    folder = tmp_path_factory.mktemp("secret-place")
    data = toy.archive(folder / "squares.npz")
    train(toy.settings(data, model="dcs_nano", output=str(folder / "run"), epochs=2, in_chans=1))
    return folder / "run"


@pytest.fixture(scope="module")
def repository(run: Path) -> Path:
    """What is published of it."""
    write_repository(Publication.of(run, "me/squares", "cc-by-4.0"), run.parent / "repository")
    return run.parent / "repository"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_folder_holds_what_a_repository_needs_and_nothing_private(repository: Path) -> None:
    assert sorted(path.name for path in repository.iterdir()) == [
        "README.md", "config.json", "golden.safetensors", "model.safetensors", "preprocessor_config.json",
    ]  # fmt: skip
    assert all(b"secret-place" not in path.read_bytes() for path in repository.iterdir())
    assert len({path.stat().st_mode for path in repository.iterdir()}) == 1


def test_timm_rebuilds_the_network_from_the_folder(run: Path, repository: Path) -> None:
    model, again = load_model(run / "best.safetensors"), timm.create_model(f"local-dir:{repository}", pretrained=True)
    images = torch.randn(2, 1, 48, 48)
    assert torch.equal(again.eval()(images), model(images))
    assert again.class_names == toy.CLASSES
    assert again.pretrained_cfg["license"] == "cc-by-4.0"
    assert check_repository(repository) < 1e-6


def test_golden_logits_are_those_of_the_weights(run: Path, repository: Path, tmp_path: Path) -> None:
    model = load_model(run / "best.safetensors")
    golden = load_file(repository / "golden.safetensors")["logits"]
    assert torch.equal(golden, qcs.models.golden.golden_logits(model, 1, 48))
    for path in repository.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    save_file({"logits": golden + 1}, tmp_path / "golden.safetensors", metadata={"input": "waves"})
    with pytest.raises(InputError, match="these are other weights"):
        check_repository(tmp_path)


def test_preprocessor_data_prepares_images_as_the_library_does(repository: Path) -> None:
    said = read(repository / "preprocessor_config.json")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 52), dtype=np.uint8))
    assert not said["do_convert_rgb"]
    resized = picture.resize((said["size"]["width"], said["size"]["height"]), said["resample"])
    top, left = ((said["size"][key] - said["crop_size"][key]) // 2 for key in ("height", "width"))
    pixels = np.asarray(resized)[top:, left:][: said["crop_size"]["height"], : said["crop_size"]["width"]]
    prepared = (pixels * said["rescale_factor"] - said["image_mean"][0]) / said["image_std"][0]
    model = timm.create_model(f"local-dir:{repository}")
    expected = eval_transform(timm.data.resolve_model_data_config(model))(picture)[0]
    assert np.abs(prepared - expected.numpy()).max() < 1e-5


def test_snippet_of_the_card_runs_as_written(
    run: Path, repository: Path, hub: LocalHub, capsys: pytest.CaptureFixture[str]
) -> None:
    push(run, "me/squares")
    text = ModelCard.load(repository / "README.md").text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    capsys.readouterr()
    exec(compile(code[1], "card", "exec"), {})
    printed = ast.literal_eval(capsys.readouterr().out)
    assert tuple(printed) == toy.CLASSES
    assert sum(printed.values()) == pytest.approx(1)
    assert "pip install 'qcs-fer[faces]'\nqcs predict photo.jpg --weights hf-hub:me/squares\n" in text


def test_card_tells_the_figures_of_the_run(run: Path, repository: Path) -> None:
    card = ModelCard.load(repository / "README.md")
    test = read(run / "test.json")
    assert card.data.license == "cc-by-4.0"
    assert (card.data.pipeline_tag, card.data.library_name) == ("image-classification", "qcs")
    results = {(r.dataset_split, r.metric_type): (r.metric_value, r.dataset_name) for r in card.data.eval_results}
    assert results["test", "accuracy"] == (round(test["accuracy"], 4), "squares")
    assert results["test", "balanced_accuracy"][0] == round(test["balanced_accuracy"], 4)
    low, high = wilson(sum(row[i] for i, row in enumerate(test["confusion"])), test["images"])
    assert f"Accuracy {test['accuracy']:.2%} ({low:.1%} to {high:.1%})" in card.text
    for name, row in zip(test["classes"], test["confusion"], strict=True):
        assert f"| **{name}** | {' | '.join(map(str, row))} |" in card.text
    assert "| happy | 12 | 4 | 5 |" in card.text  # images per class of the training, validation and test sets
    for heading in ("Intended use", "Limits of expression recognition", "Bias", "License", "How to cite", "How to use"):
        assert f"## {heading}" in card.text


def test_configuration_repeats_the_scores(run: Path, repository: Path) -> None:
    ours = read(repository / "config.json")["qcs"]
    assert ours["scores"]["test"]["accuracy"] == read(run / "test.json")["accuracy"]
    assert ours["trained_on"] == "squares"
    assert ours["training"]["epochs"] == 2


def test_what_is_not_known_is_said_to_be_unknown(tmp_path: Path) -> None:
    weights = save_model(load(), tmp_path / "weights.safetensors")
    (tmp_path / "test.json").write_text("{}")  # of whatever lies in the same folder
    write_repository(Publication.of(weights, "me/faces"), tmp_path / "repository")
    card = ModelCard.load(tmp_path / "repository" / "README.md")
    assert card.data.license is None
    assert card.data.eval_results is None
    for unknown in ("Unknown: these weights came without", "Unknown: no evaluation", "Not stated; ask the owner"):
        assert unknown in card.text


@pytest.mark.slow
def test_accuracy_of_the_paper_is_not_claimed_for_other_weights(tmp_path: Path) -> None:
    model: Any = qcs.create_model("qcs_ir50.raf_db")
    weights = save_model(model, tmp_path / "weights.safetensors")
    write_repository(Publication.of(weights, "me/faces"), tmp_path / "repository")
    text = (tmp_path / "repository" / "README.md").read_text()
    assert "The paper reports 92.50% for its own weights of `qcs_ir50.raf_db`; that figure was not measured on" in text


def load() -> Any:
    return qcs.create_model("base_nano")


def test_golden_logits_that_came_with_the_weights_are_checked(tmp_path: Path) -> None:
    model = load()
    logits = qcs.models.golden.golden_logits(model, 3, 48)
    right = save_model(model, tmp_path / "right.safetensors", info={"golden": {"logits": logits.tolist()}})
    wrong = save_model(model, tmp_path / "wrong.safetensors", info={"golden": {"logits": (logits + 1).tolist()}})
    assert Publication.of(right, "me/faces").record.weights == right
    with pytest.raises(InputError, match="these are other weights"):
        Publication.of(wrong, "me/faces")


def test_half_precision_weights_stay_half_and_load(tmp_path: Path) -> None:
    model = load().half()
    weights = save_model(model, tmp_path / "weights.safetensors")
    write_repository(Publication.of(weights, "me/faces"), tmp_path / "repository")
    assert load_file(tmp_path / "repository" / "model.safetensors")["base.head.weight"].dtype == torch.float16
    again: Any = qcs.create_model(f"local-dir:{tmp_path / 'repository'}", pretrained=True)
    assert again.base.head.weight.dtype == torch.float32
    assert torch.equal(again.base.head.weight, model.base.head.weight.float())


def test_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "notes.txt").write_text("mine")
    publication = Publication.of(save_model(load(), tmp_path / "weights.safetensors"), "me/faces")
    with pytest.raises(InputError, match="repository is not an empty folder"):
        write_repository(publication, tmp_path / "repository")
    assert [path.name for path in (tmp_path / "repository").iterdir()] == ["notes.txt"]


def test_folder_that_cannot_be_finished_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publication = Publication.of(save_model(load(), tmp_path / "weights.safetensors"), "me/faces")

    def full(source: object, target: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match=r"cannot write .*repository: No space left on device"):
        write_repository(publication, tmp_path / "repository")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_corrupt_files_of_a_run_are_refused(run: Path, tmp_path: Path) -> None:
    for name in ("best.safetensors", "config.json"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    assert read_record(tmp_path).scores == {}
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(InputError, match=r"test\.json is corrupt"):
        read_record(tmp_path)
    (tmp_path / "test.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"test\.json was not written by a run: expected loss, classes and a confusion matrix"
    ):
        read_record(tmp_path)


@pytest.mark.parametrize(
    ("right", "total", "low", "high"), [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)]
)
def test_confidence_interval_is_wilsons(right: int, total: int, low: float, high: float) -> None:
    # The last is the worked example of Newcombe (Statistics in Medicine 1998, Table I).
    assert wilson(right, total) == pytest.approx((low, high), abs=1e-4)
