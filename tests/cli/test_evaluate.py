"""Evaluating a weights file: which images, under which names, and what is printed and written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from commands import Run, contents, fails, images, written

import qcs
from qcs.cli.evaluate import evaluate
from qcs.engine.training import RunResult, train
from qcs.engine.weights_evaluation import WeightsEvaluation, evaluate_weights
from qcs.errors import InputError
from qcs.models.weights import EMBEDDED


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run that has learned its classes, so that mixing them up would show."""
    folder = tmp_path_factory.mktemp("training")
    result = train(toy.settings(toy.archive(folder / "squares.npz"), output=str(folder / "run"), epochs=6, resize=52))
    assert result.test is not None
    assert result.test.accuracy > 0.9
    return result


def evaluated(learned: RunResult, data: Path, split: str = "test", **options: Any) -> WeightsEvaluation:
    return evaluate_weights(str(learned.folder), str(data), split, **options)


def test_the_result_is_printed_and_written_beside_the_weights_by_default(
    learned: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.archive(tmp_path / "faces.npz")
    weights = shutil.copy(learned.folder / "best.safetensors", tmp_path)
    evaluate(str(weights), str(data))
    text = capsys.readouterr().out
    done = evaluate_weights(str(weights), str(data))
    result = done.evaluation
    assert json.loads((tmp_path / "faces-test.json").read_text()) == done.to_dict()
    assert (tmp_path / "faces-test.png").stat().st_size > 1000
    assert f"accuracy {result.accuracy:.2%}, balanced {result.balanced_accuracy:.2%}" in text
    assert f"wrote {tmp_path / 'faces-test.json'} and {tmp_path / 'faces-test.png'}\n" in text


def test_results_of_weights_in_the_package_are_written_where_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(EMBEDDED.iterdir())
    evaluate_weights("qcs_small", str(toy.archive(tmp_path / "faces.npz"))).save()
    assert (tmp_path / "faces-test.json").exists()
    assert sorted(EMBEDDED.iterdir()) == before


def test_weights_alone_give_the_result_of_the_run_after_run_and_data_are_gone(
    learned: RunResult, tmp_path: Path
) -> None:
    trained = tmp_path / "gone"
    shutil.copytree(learned.folder, trained)
    alone = shutil.copy(trained / "best.safetensors", tmp_path / "moved.safetensors")
    shutil.rmtree(trained)
    result = evaluate_weights(str(alone), str(toy.archive(tmp_path / "new.npz"))).evaluation
    assert learned.test is not None
    assert result.to_dict() == learned.test.to_dict()


@pytest.mark.parametrize(
    "form",
    [
        "names in another order",
        "numbers of the archive's own classes",
        "bare numbers",
        "synonyms",
    ],
)
def test_labels_meet_the_network_s_classes_by_name(learned: RunResult, tmp_path: Path, form: str) -> None:
    labels = toy.splits("test")["test"].labels
    changes: dict[str, dict[str, Any]] = {
        "names in another order": {"classes": ["anger", "sad", "happy"]},
        "numbers of the archive's own classes": {"labels": (labels + 1) % 3, "classes": ["anger", "happy", "sad"]},
        "bare numbers": {"labels": labels},
        "synonyms": {"labels": np.array(["Happiness", "sadness", "ANGRY"])[labels]},
    }
    result = evaluated(learned, toy.archive(tmp_path / "faces.npz", "test", **changes[form])).evaluation
    assert learned.test is not None
    assert result.to_dict() == learned.test.to_dict()


def test_a_missing_class_is_no_zero_in_the_balanced_accuracy(learned: RunResult, tmp_path: Path) -> None:
    images = toy.splits("test")["test"]
    part = images.subset(images.labels != 0)
    data = tmp_path / "faces.npz"
    np.savez(data, images=np.stack(part.images), labels=np.array(toy.CLASSES)[part.labels])
    result = evaluated(learned, data).evaluation
    assert result.confusion.sum(1).tolist() == [0, 5, 5]
    assert list(result.per_class) == ["sad", "anger"]
    assert result.balanced_accuracy > 0.9


def test_images_of_classes_the_network_does_not_know_are_left_out_and_counted(
    learned: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = np.array(["happy", "contempt", "anger"])[toy.splits("test")["test"].labels]
    data = str(toy.archive(tmp_path / "faces.npz", "test", labels=names))
    result = evaluate_weights(str(learned.folder), data).evaluation
    assert result.images == 10
    assert result.accuracy > 0.9
    evaluate(str(learned.folder), data, output=str(tmp_path))
    text = capsys.readouterr().out
    assert "left out 5 of 15 images: their classes are not among those of the network, happy, sad, anger\n" in text


def test_images_of_foreign_classes_alone_are_refused(learned: RunResult, tmp_path: Path) -> None:
    names = np.array(["cat", "dog", "bird"])[toy.splits("test")["test"].labels]
    with pytest.raises(InputError, match=r"labeled bird, cat, dog; wanted happy, sad, anger"):
        evaluated(learned, toy.archive(tmp_path / "faces.npz", "test", labels=names))
    assert [path.name for path in tmp_path.iterdir()] == ["faces.npz"]


def test_numbers_beyond_the_network_s_classes_are_refused_with_the_place(learned: RunResult, tmp_path: Path) -> None:
    numbers = [0, 1, 2, 3, *[0] * 11]
    with pytest.raises(InputError, match=r"label 3 of image 3 \(row 3\) is out of range: expected 0 to 2 \(happy, sad"):
        evaluated(learned, toy.archive(tmp_path / "faces.npz", "test", labels=numbers))


@pytest.mark.parametrize(("split", "images"), [("train", 36), ("validation", 12), ("test", 15), ("all", 63)])
def test_the_split_is_chosen_by_name(learned: RunResult, tmp_path: Path, split: str, images: int) -> None:
    done = evaluated(learned, toy.archive(tmp_path / "faces.npz"), split)
    assert done.evaluation.images == images
    record, figure = done.save(tmp_path / "report")
    assert (record, figure) == (tmp_path / "report" / f"faces-{split}.json", tmp_path / "report" / f"faces-{split}.png")
    assert record.exists()


def test_evaluation_with_tta_says_so_and_has_a_file_of_its_own(
    learned: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(str(learned.folder), str(toy.archive(tmp_path / "faces.npz")), output=str(tmp_path / "report"), tta=True)
    text = capsys.readouterr().out
    assert "(15 images)" in text
    assert "with test-time augmentation" in text
    assert (tmp_path / "report" / "faces-test-tta.json").exists()


def test_data_without_splits_is_evaluated_whole_and_the_report_says_so(
    learned: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = toy.archive(tmp_path / "faces.npz", "test", split=None)
    evaluate(str(learned.folder), str(data), "test", output=str(tmp_path / "report"))
    text = capsys.readouterr().out
    assert "(15 images)" in text
    assert "on all of" in text
    assert (tmp_path / "report" / "faces-all.json").exists()


def test_a_split_that_is_unknown_or_absent_is_refused(learned: RunResult, tmp_path: Path) -> None:
    data = toy.archive(tmp_path / "faces.npz", "train", "test")
    with pytest.raises(InputError, match="split must be one of train, validation, test, all; got 'dev'"):
        evaluated(learned, data, "dev")
    with pytest.raises(InputError, match=r"has no validation split; it has train, test; choose with --split, or 'all'"):
        evaluated(learned, data, "validation")


def test_the_training_crop_travels_with_the_weights(learned: RunResult) -> None:
    assert qcs.load_model(learned.folder / "best.safetensors").pretrained_cfg["crop_pct"] == 48 / 52


# The command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "gone"), "gone does not exist; expected an .npz archive.*"),
        (("--data", "faces", "--split", "dev"), "split must be one of train, validation, test, all; got 'dev'"),
        (("--data", "faces", "--split", "train"), "faces has no train split; it has validation, test; choose with .*"),
        (("--data", "faces"), r"cannot read image faces/test/sad/1\.png: .*; replace the file or leave it out .*"),
        (("--data", "pets"), "none of the 2 images has a wanted class: they are labeled cat, dog; wanted happy, .*"),
        (
            ("--data", "faces", "--split", "validation", "--output", "file/report"),
            r"cannot write file/report/faces-validation\.json: Not a directory",
        ),
    ],
)
def test_what_cannot_be_evaluated(
    run: Run, tmp_path: Path, trained: Path, arguments: Sequence[str], message: str
) -> None:
    data = toy.tree(tmp_path / "faces", "validation", "test")
    written(data / "test" / "sad" / "1.png", b"")
    images(tmp_path / "pets", "cat/a.png", "dog/b.png")
    written(tmp_path / "file", b"")
    before = contents(tmp_path), contents(trained)
    fails(run("evaluate", trained, *arguments), message)
    assert (contents(tmp_path), contents(trained)) == before
