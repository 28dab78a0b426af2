"""Trained networks have their say in the targets, by class names, and no more than their share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import toy

import qcs
from qcs.data import LabelledImages
from qcs.engine import Mirrored, train
from qcs.engine.teachers import taught
from qcs.errors import InputError
from qcs.models import save_model


def images(soft: bool = False) -> LabelledImages:
    pixels, labels = toy.squares(5, seed=1)
    shares = np.tile([[0.5, 0.2, 0.3]], (5, 1)) if soft else None
    return LabelledImages(pixels, labels, toy.CLASSES, soft=shares)


def teacher(path: Path, classes: tuple[str, ...] = toy.CLASSES, seed: int = 0) -> str:
    torch.manual_seed(seed)
    model = qcs.create_model("base_nano", num_classes=len(classes))
    model.name_classes(classes)
    save_model(model, path)
    return str(path)


def said(path: str, given: LabelledImages) -> np.ndarray:
    model = qcs.load_model(path)
    transform = qcs.data.eval_transform(model.pretrained_cfg)
    with torch.inference_mode():
        batch = torch.stack([transform(given.image(row)) for row in range(len(given))])
        return np.asarray(Mirrored(model.eval())(batch).exp())


def test_targets_are_the_mean_of_labels_and_teachers(tmp_path: Path) -> None:
    given, files = images(), [teacher(tmp_path / f"{seed}.safetensors", seed=seed) for seed in range(2)]
    got = taught(given, files, 0.25)
    expected = 0.75 * np.eye(3)[given.labels] + 0.125 * (said(files[0], given) + said(files[1], given))
    np.testing.assert_allclose(got.soft, expected, atol=1e-5)
    assert given.soft is None and (got.labels == given.labels).all()


def test_soft_labels_are_the_images_own_say_where_asked_for(tmp_path: Path) -> None:
    given, file = images(soft=True), teacher(tmp_path / "a.safetensors")
    np.testing.assert_allclose(taught(given, [file], 0.0, soft_labels=True).soft, given.soft, atol=1e-6)
    np.testing.assert_allclose(taught(given, [file], 0.0).soft, np.eye(3)[given.labels], atol=1e-6)


def test_classes_meet_by_name(tmp_path: Path) -> None:
    given, file = images(), teacher(tmp_path / "a.safetensors", tuple(reversed(toy.CLASSES)))
    np.testing.assert_allclose(taught(given, [file], 1.0).soft, said(file, given)[:, ::-1], atol=1e-5)


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    file = teacher(tmp_path / "a.safetensors", ("happy", "sad", "fear"))
    with pytest.raises(InputError, match=r"a\.safetensors knows the classes happy, sad, fear; expected those"):
        taught(images(), [file], 0.5)


def test_a_run_learns_what_its_teacher_says(tmp_path: Path) -> None:
    splits = toy.splits()
    learned = train(toy.settings(output=str(tmp_path / "first"), epochs=12), splits)
    wrong = dict(splits, train=LabelledImages(splits["train"].images, 0 * splits["train"].labels, toy.CLASSES))
    wrong["train"].labels[:2] = 1, 2  # nearly all images are said to be of the first class
    changes = dict(epochs=12, teachers=(str(learned.folder),), teacher_share=1.0)
    corrected = train(toy.settings(output=str(tmp_path / "second"), **changes), wrong)
    assert learned.validation.accuracy > 0.6
    assert corrected.validation.accuracy > 0.6
