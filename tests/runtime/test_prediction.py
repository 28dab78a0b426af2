"""qcs-runtime answers as qcs does: the same input for the network, the same faces, the same probabilities."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import backend
import numpy as np
import pytest
import qcs_runtime
from fixed_faces import FixedFaces, needs_extra
from PIL import Image
from qcs_runtime import __main__ as command
from qcs_runtime import classifier, prediction

import qcs
from qcs.data import eval_transform, synthetic_faces
from qcs.errors import InputError
from qcs.export.formats import describe

CLASSES = ("happy", "sad")


class Brightness:
    """A classifier that calls the bright ones happy."""

    classes, crop, side = CLASSES, "fer2013", 54

    def __call__(self, crops: Sequence[Any]) -> Any:
        bright = np.array([np.asarray(crop).mean() / 255 for crop in crops]).reshape(-1, 1)
        return np.concatenate([bright, 1 - bright], 1)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector and a classifier that need no file."""
    monkeypatch.setattr(prediction, "loaded_classifier", lambda precision: Brightness())
    monkeypatch.setattr(command, "loaded_classifier", lambda precision: Brightness())
    monkeypatch.setattr(prediction, "_detector", lambda min_face: FixedFaces())


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("architecture", ["qcs_small", "base_nano"])
def test_the_network_gets_what_it_gets_in_qcs(architecture: str, mode: str) -> None:
    model = qcs.create_model(architecture)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 61, 3), np.uint8)).convert(mode)
    about = json.loads(describe(model, "fp32", "fer2013"))
    wanted = eval_transform(about)(image).numpy()
    got = classifier.prepare(image, about)
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    assert np.abs(got - wanted).max() < 1e-6


def test_every_form_of_a_picture_has_the_same_answer(stubs: None, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (120, 250, 3), np.uint8)
    path, file = tmp_path / "photo.png", io.BytesIO()
    Image.fromarray(array).save(path)
    Image.fromarray(array).save(file, "PNG")
    first, *others = [
        qcs_runtime.predict(form) for form in (path, str(path), file.getvalue(), Image.fromarray(array), array)
    ]
    others.append(qcs_runtime.predict(array[..., ::-1], channels="bgr"))
    assert len(first) == 2 and first.classes == CLASSES and first[0].box == (10, 20, 80, 90)
    for other in others:
        assert np.array_equal(first.probabilities, other.probabilities)
    assert len(qcs_runtime.predict(array, detect=False)) == 1


def test_a_picture_of_a_list_that_cannot_be_read_costs_the_others_nothing(stubs: None) -> None:
    bad, good = qcs_runtime.predict(["gone.png", Image.new("RGB", (150, 120))])
    assert (len(bad), len(good)) == (0, 1)
    assert bad.error.startswith("cannot read image gone.png") and good.error is None
    with pytest.raises(InputError, match=r"^cannot read image gone\.png"):
        qcs_runtime.predict("gone.png")
    with pytest.raises(InputError, match=r"^got int; expected a path"):
        qcs_runtime.predict(3)  # type: ignore[arg-type]


def test_a_classifier_says_what_is_wrong_with_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="precision must be one of fp32, int8; got 'fp16'"):
        qcs_runtime.Classifier("fp16")
    with pytest.raises(InputError, match="threads is 0; expected at least 1"):
        qcs_runtime.Classifier(threads=0)
    monkeypatch.setattr(classifier, "WEIGHTS", tmp_path)
    with pytest.raises(InputError, match=r"there is no .*fp32\.onnx; install the wheel"):
        qcs_runtime.Classifier()


def test_the_command_prints_and_writes_each_picture_and_names_what_it_cannot_read(
    stubs: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    Image.new("RGB", (150, 120), "white").save(tmp_path / "b.png")
    output = tmp_path / "faces.csv"
    assert command.main([str(tmp_path / "a.png"), str(tmp_path / "b.png"), "--output", str(output)]) == 1
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'b.png'}: 1 face\n  1  happy 100.0%  box 10, 20, 80, 90\n"
    assert shown.err.startswith("error: cannot read image") and shown.err.count("\n") == 2
    (row,) = csv.DictReader(output.open())
    assert (row["label"], row["happy"], row["left"]) == ("happy", "1.0000", "10.0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.png"], "there is no gone.png; expected an image, a folder, a video or camera"),
        (["gone.mp4"], "reading gone.mp4 needs OpenCV; run: pip install 'qcs-runtime[video]'"),
        ([".", "--output", "faces.txt"], "output must end in .json, .jsonl or .csv, got faces.txt"),
    ],
)
def test_bad_input_is_one_line(
    stubs: None,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("a.png")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command.main(arguments) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the wheel."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("weights")
    backend.export(folder)
    return folder


@pytest.mark.slow
@needs_extra
def test_probabilities_are_those_of_pytorch_on_a_photograph_and_on_synthetic_faces(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pytest.importorskip("skimage.data")
    monkeypatch.setattr(classifier, "WEIGHTS", weights)
    prediction.loaded_classifier.cache_clear()
    photograph, drawn = data.astronaut(), list(synthetic_faces(40, size=96, seed=1).images)
    for pictures, detect in ((photograph, True), (drawn, False), (drawn[:8], True)):
        wanted, got = qcs.predict(pictures, detect=detect), qcs_runtime.predict(pictures, detect=detect)
        several = isinstance(wanted, list)
        for ours, other in zip(wanted if several else [wanted], got if several else [got], strict=True):
            assert len(ours) == len(other) and ours.classes == other.classes
            assert ours.boxes is None or np.array_equal(ours.boxes, other.boxes)
            assert np.abs(ours.probabilities - other.probabilities).max(initial=0) < 1e-4
    assert len(qcs_runtime.predict(photograph)) == 1

    quantized = qcs_runtime.Classifier("int8", threads=1)(drawn)
    full = qcs_runtime.Classifier("fp32", threads=1)(drawn)
    assert 1e-4 < np.abs(quantized - full).max() < 0.2
    assert (quantized.argmax(1) == full.argmax(1)).mean() > 0.9
    sizes = {name: (weights / f"{name}.onnx").stat().st_size for name in ("fp32", "int8")}
    assert sizes["int8"] < 0.3 * sizes["fp32"]
    prediction.loaded_classifier.cache_clear()
