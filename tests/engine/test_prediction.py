"""Prediction of image files with nothing but a weights file."""

from __future__ import annotations

import importlib
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from fixed_faces import FixedFaces
from living import Living
from PIL import Image
from timm.data import resolve_model_data_config

import qcs
from qcs.data import eval_transform, open_image
from qcs.engine import classify, predict, predict_faces
from qcs.engine import predict as predict_images
from qcs.errors import InputError
from qcs.faces import Face, Faces, Picture, align
from qcs.models import save_model


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    network: Any = qcs.create_model("qcs_nano", num_classes=3)
    network.name_classes(toy.CLASSES)
    return save_model(network, tmp_path / "run" / "best.safetensors")


def test_probabilities_are_those_of_the_prepared_images_by_class_name(tmp_path: Path, weights: Path) -> None:
    model = qcs.load_model(weights)
    files = toy.photos(tmp_path / "photos")
    prepare = eval_transform(resolve_model_data_config(model))
    with torch.inference_mode():
        expected = model(torch.stack([prepare(open_image(file)) for file in files])).softmax(-1)
    predictions = list(predict(model, files))
    assert [prediction.path for prediction in predictions] == [str(file) for file in files]
    for prediction, row in zip(predictions, expected, strict=True):
        (face,) = prediction
        assert list(face.probabilities) == list(toy.CLASSES)
        torch.testing.assert_close(torch.tensor(list(face.probabilities.values())), row)
        assert sum(face.probabilities.values()) == pytest.approx(1)
        assert prediction.labels == [face.label] == [toy.CLASSES[int(row.argmax())]]


def test_many_files_are_predicted_in_order_as_they_are_one_by_one(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("qcs.engine.prediction"), "BATCH", 2)
    model = qcs.load_model(weights)
    files = toy.photos(tmp_path / "photos")
    files += files[:1]  # the same file may be asked for twice
    together = list(predict_images(model, files))
    alone = [next(predict_images(model, [file])) for file in files]
    assert [prediction.path for prediction in together] == [str(file) for file in files]
    for a, b in zip(together, alone, strict=True):
        assert a[0].probabilities == pytest.approx(b[0].probabilities, abs=1e-6)


def test_weights_alone_predict_the_same_after_they_were_moved(tmp_path: Path, weights: Path) -> None:
    files = toy.photos(tmp_path / "photos")
    before = list(predict(qcs.load_model(weights), files))
    elsewhere = tmp_path / "elsewhere.safetensors"
    shutil.move(weights, elsewhere)
    shutil.rmtree(weights.parent)
    assert list(predict(qcs.load_model(elsewhere), files)) == before


def test_an_unreadable_file_is_raised_or_handed_over_and_passed_over(tmp_path: Path, weights: Path) -> None:
    model = qcs.load_model(weights)
    files = toy.photos(tmp_path / "photos", 3)
    files[1].write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot read image .*1\.jpg"):
        list(predict(model, files))
    errors: list[InputError] = []
    assert [p.path for p in predict(model, files, on_unreadable=errors.append)] == [str(files[0]), str(files[2])]
    assert len(errors) == 1
    assert list(predict(model, files[1:2], on_unreadable=errors.append)) == []


def noise(*widths: int) -> list[Picture]:
    return [Picture(f"{width}.png", Image.effect_noise((width, 120), 90), Path(f"{width}.png")) for width in widths]


@pytest.mark.parametrize("crop", ["fer2013", "arcface"])
def test_faces_are_classified_as_their_aligned_crops_are(weights: Path, crop: str) -> None:
    model = qcs.load_model(weights)
    (picture,) = pictures = noise(350)
    faces = FixedFaces()(picture.image)
    prepare = eval_transform(resolve_model_data_config(model))
    with torch.inference_mode():
        expected = model(torch.stack([prepare(align(picture.image, face, 48, crop)) for face in faces])).softmax(-1)
    (shown,) = predict_faces(model, pictures, detector=FixedFaces(), crop=crop)
    assert shown.picture is picture
    assert replace(shown, probabilities=None, classes=(), picture=None) == faces
    for prediction, row in zip(shown, expected, strict=True):
        torch.testing.assert_close(torch.tensor(list(prediction.probabilities.values())), row)


@pytest.mark.parametrize("together", [1, 2, 8])
def test_every_picture_gets_its_own_faces_however_many_are_classified_together(weights: Path, together: int) -> None:
    model = qcs.load_model(weights)
    pictures = noise(90, 250, 350, 80, 150)
    shown = list(predict_faces(model, iter(pictures), detector=FixedFaces(), together=together))
    assert [prediction.picture for prediction in shown] == pictures
    assert [len(prediction) for prediction in shown] == [0, 2, 3, 0, 1]
    for prediction, picture in zip(shown, pictures, strict=True):
        (alone,) = predict_faces(model, [picture], detector=FixedFaces())
        assert prediction.path == alone.path
        for a, b in zip(prediction, alone, strict=True):
            assert (a.box, a.landmarks, a.score) == (b.box, b.landmarks, b.score)
            assert a.probabilities == pytest.approx(b.probabilities, abs=1e-6)


def test_a_picture_without_faces_is_an_answer(weights: Path) -> None:
    (shown,) = predict_faces(qcs.load_model(weights), noise(50), detector=FixedFaces())
    assert shown.to_dict() == {"path": "50.png", "faces": []}


def test_a_live_source_is_answered_before_the_next_picture_is_read(weights: Path) -> None:
    read: list[Picture] = []
    stream = (read.append(picture) or picture for picture in noise(150, 150, 150))
    answers = predict_faces(qcs.load_model(weights), stream, detector=FixedFaces(), together=1)
    next(answers)
    assert len(read) == 1


def test_an_unknown_crop_is_refused_even_without_a_face(weights: Path) -> None:
    def nothing(image: Image.Image) -> Faces:
        return Faces.of([])

    with pytest.raises(InputError, match="crop must be one of fer2013, arcface, loose; got 'tight'"):
        list(predict_faces(qcs.load_model(weights), noise(50), detector=nothing, crop="tight"))


def test_one_picture_and_arrays_are_taken_as_they_are(weights: Path, tmp_path: Path) -> None:
    model = qcs.load_model(weights)
    array = np.asarray(noise(150)[0].image)
    Image.fromarray(array).save(tmp_path / "a.png")
    forms: list[Any] = [array, Image.fromarray(array), str(tmp_path / "a.png"), torch.from_numpy(array.copy())]
    rows = [classify(model, form)[0] for form in forms] + list(classify(model, forms))
    assert all(row.probabilities == pytest.approx(rows[0].probabilities, abs=1e-6) for row in rows)
    found = [list(predict_faces(model, form, detector=FixedFaces())) for form in forms]
    assert all(len(faces) == 1 and faces[0][0].probabilities for faces in found)
    (alone,) = predict(model, str(tmp_path / "a.png"))
    assert alone.path == str(tmp_path / "a.png")
    with pytest.raises(InputError, match="got int; expected a picture or a list of pictures"):
        classify(model, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("detect", [True, False])
def test_pictures_are_dropped_while_others_are_read(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, detect: bool
) -> None:
    for number in range(6):
        noise(150)[0].image.save(tmp_path / f"{number}.png")
    opened = Living(open_image)
    monkeypatch.setattr("qcs.faces.media.open_image", opened)
    module = importlib.import_module("qcs.engine.prediction")
    monkeypatch.setattr(module, "open_image", opened)
    monkeypatch.setattr(module, "MOST_PIXELS", 1)
    model, files = qcs.load_model(weights), sorted(tmp_path.glob("*.png"))
    stream = predict_faces(model, qcs.faces.pictures(files), detector=FixedFaces()) if detect else predict(model, files)
    assert sum(1 for _ in stream) == 6
    assert opened.most <= 2  # the last one answered, and the next


def test_answers_are_never_nan(weights: Path) -> None:
    model = qcs.load_model(weights)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(InputError, match="the network gives probabilities that are not finite: its weights"):
        classify(model, Image.new("L", (50, 50)))


def test_faces_at_places_that_are_not_finite_are_left_out(weights: Path) -> None:
    good, *_ = FixedFaces()(noise(150)[0].image)
    bad = Face((math.nan, 0, 1, 1), good.landmarks, 0.9)
    (shown,) = predict_faces(qcs.load_model(weights), noise(150), detector=lambda image: Faces.of([bad, good]))
    assert [(face.number, face.box, face.landmarks) for face in shown] == [(1, good.box, good.landmarks)]
