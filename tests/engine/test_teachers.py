"""Teachers have their say in the targets of the very pixels that are learned from, by class names, and their share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toy

import qcs
from qcs.data import LabelledImages
from qcs.engine import train
from qcs.engine.teachers import Teachers
from qcs.errors import InputError
from qcs.models import save_model

LABELS = torch.tensor([[0, 1, 2], [2, 2, 1]])


def images(seed: int = 0) -> list[torch.Tensor]:
    return list(torch.randn(2, 3, 3, 48, 48, generator=torch.Generator().manual_seed(seed)))


def network(classes: tuple[str, ...] = toy.CLASSES, seed: int = 0, **kwargs: object) -> qcs.CrossSimilarityNetwork:
    torch.manual_seed(seed)
    model = qcs.create_model("base_nano", num_classes=len(classes), **kwargs)
    model.name_classes(classes)
    return model.eval()


def saved(model: qcs.CrossSimilarityNetwork, path: Path) -> str:
    save_model(model, path)
    return str(path)


@torch.inference_mode()
def said(model: qcs.CrossSimilarityNetwork, given: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([model(branch).softmax(-1) for branch in given])


def test_targets_are_the_mean_of_labels_and_teachers(tmp_path: Path) -> None:
    first, second = network(seed=1), network(seed=2)
    files = [saved(first, tmp_path / "a.safetensors"), saved(second, tmp_path / "b.safetensors")]
    got = Teachers(files, 0.25, network()).targets(images(), LABELS)
    own = torch.nn.functional.one_hot(LABELS, 3)
    expected = 0.75 * own + 0.125 * (said(first, images()) + said(second, images()))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_soft_targets_keep_their_share(tmp_path: Path) -> None:
    teacher, own = network(seed=1), torch.rand(2, 3, 3).softmax(-1)
    got = Teachers([saved(teacher, tmp_path / "a.safetensors")], 0.5, network()).targets(images(), own)
    torch.testing.assert_close(got, (own + said(teacher, images())) / 2, atol=1e-5, rtol=0)


def test_classes_meet_by_name(tmp_path: Path) -> None:
    teacher = network(tuple(reversed(toy.CLASSES)), seed=1)
    got = Teachers([saved(teacher, tmp_path / "a.safetensors")], 1.0, network()).targets(images(), LABELS)
    torch.testing.assert_close(got, said(teacher, images()).flip(-1), atol=1e-5, rtol=0)


def test_bfloat16_changes_targets_little(tmp_path: Path) -> None:
    teacher = network(seed=1)
    teachers = Teachers([saved(teacher, tmp_path / "a.safetensors")], 1.0, network(), precision="bf16")
    got = teachers.targets(images(), LABELS)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, said(teacher, images()), atol=0.02, rtol=0)


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    file = saved(network(("happy", "sad", "fear")), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors knows the classes happy, sad, fear; expected those"):
        Teachers([file], 0.5, network())


def test_a_teacher_that_takes_other_images_is_refused(tmp_path: Path) -> None:
    file = saved(network(in_chans=1), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"takes others: input_size \(1, 48, 48\) instead of \(3, 48, 48\), mean"):
        Teachers([file], 0.5, network())


def test_a_run_learns_what_its_teacher_says(tmp_path: Path) -> None:
    splits = toy.splits()
    learned = train(toy.settings(output=str(tmp_path / "first"), epochs=12), splits)
    wrong = dict(splits, train=LabelledImages(splits["train"].images, 0 * splits["train"].labels, toy.CLASSES))
    wrong["train"].labels[:2] = 1, 2  # nearly all images are said to be of the first class
    changes = dict(epochs=12, teachers=(str(learned.folder),), teacher_share=1.0)
    corrected = train(toy.settings(output=str(tmp_path / "second"), **changes), wrong)
    assert learned.validation.accuracy > 0.6
    assert corrected.validation.accuracy > 0.6
