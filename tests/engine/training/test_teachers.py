"""Teachers: their probabilities of the very pixels trained on are mixed into the targets, classes matched by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toy

import qcs
from qcs.data import LabeledImages
from qcs.engine.training import resume, train, trainer
from qcs.engine.training.step import TrainingStep
from qcs.engine.training.teachers import Teachers
from qcs.errors import InputError
from qcs.models import save_model

IMAGES = torch.randn(6, 3, 48, 48, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 2, 2, 1])


def network(classes: tuple[str, ...] = toy.CLASSES, seed: int = 0, **kwargs: object) -> qcs.CrossSimilarityNetwork:
    torch.manual_seed(seed)
    model = qcs.create_model("base_nano", num_classes=len(classes), **kwargs)
    model.name_classes(classes)
    return model.eval()


def saved(model: qcs.CrossSimilarityNetwork, path: Path) -> str:
    save_model(model, path)
    return str(path)


@torch.inference_mode()
def said(model: qcs.CrossSimilarityNetwork) -> torch.Tensor:
    return model(IMAGES).softmax(-1)


def test_targets_are_the_mean_of_labels_and_teachers(tmp_path: Path) -> None:
    first, second = network(seed=1), network(seed=2)
    files = [saved(first, tmp_path / "a.safetensors"), saved(second, tmp_path / "b.safetensors")]
    got = Teachers(files, 0.25, network()).targets(IMAGES, LABELS)
    own = torch.nn.functional.one_hot(LABELS, 3)
    expected = 0.75 * own + 0.125 * (said(first) + said(second))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_soft_targets_keep_their_share(tmp_path: Path) -> None:
    teacher, own = network(seed=1), torch.rand(6, 3).softmax(-1)
    got = Teachers([saved(teacher, tmp_path / "a.safetensors")], 0.5, network()).targets(IMAGES, own)
    torch.testing.assert_close(got, (own + said(teacher)) / 2, atol=1e-5, rtol=0)


def test_classes_meet_by_name(tmp_path: Path) -> None:
    teacher = network(tuple(reversed(toy.CLASSES)), seed=1)
    got = Teachers([saved(teacher, tmp_path / "a.safetensors")], 1.0, network()).targets(IMAGES, LABELS)
    torch.testing.assert_close(got, said(teacher).flip(-1), atol=1e-5, rtol=0)


def test_bfloat16_changes_targets_little(tmp_path: Path) -> None:
    teacher = network(seed=1)
    teachers = Teachers([saved(teacher, tmp_path / "a.safetensors")], 1.0, network(), bf16=True)
    got = teachers.targets(IMAGES, LABELS)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, said(teacher), atol=0.02, rtol=0)


def test_a_teacher_of_other_classes_is_refused(tmp_path: Path) -> None:
    file = saved(network(("happy", "sad", "fear")), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors has the classes happy, sad, fear; expected those"):
        Teachers([file], 0.5, network())


def test_a_teacher_that_takes_other_images_is_refused(tmp_path: Path) -> None:
    file = saved(network(in_chans=1), tmp_path / "a.safetensors")
    with pytest.raises(
        InputError, match=r"takes images of \(1, 48, 48\) \(channels, height, width\), the network of \(3, 48, 48\);"
    ):
        Teachers([file], 0.5, network())


def test_a_teacher_of_another_normalization_gets_pixels_of_its_own(tmp_path: Path) -> None:
    teacher, student = network(seed=1), network()
    teacher.pretrained_cfg |= {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}
    student.pretrained_cfg |= {"mean": (0.4, 0.4, 0.4), "std": (1.0, 1.0, 2.0)}
    mean, std = (torch.tensor(student.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    own_mean, own_std = (torch.tensor(teacher.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    expected = teacher(((IMAGES * std + mean) - own_mean) / own_std).softmax(-1)
    got = Teachers([saved(teacher, tmp_path / "a.safetensors")], 1.0, student).targets(IMAGES, LABELS)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_in_a_run_they_see_the_very_pixels_that_are_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[torch.Tensor, torch.Tensor]] = []
    learned: list[tuple[torch.Tensor, torch.Tensor]] = []
    targets, step = Teachers.targets, TrainingStep._backward

    def recorded(self: Teachers, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found = targets(self, images, labels)
        shown.append((images, found))
        return found

    def learn(self: TrainingStep, images: list[torch.Tensor], labels: torch.Tensor, share: float) -> Any:
        learned.append((torch.cat(images), labels.flatten(0, 1)))
        return step(self, images, labels, share)

    monkeypatch.setattr(Teachers, "targets", recorded)
    monkeypatch.setattr(TrainingStep, "_backward", learn)
    changes: dict[str, Any] = dict(model="qcs_nano", epochs=1, resize=56, rotation=10.0)
    teachers = (saved(network(seed=1), tmp_path / "a.safetensors"),)
    train(toy.settings(output=str(tmp_path / "run"), teachers=teachers, **changes), toy.splits())
    assert len(shown) == len(learned) > 1
    assert all(torch.equal(a, b) for pair in zip(shown, learned, strict=True) for a, b in zip(*pair, strict=True))
    assert not any(torch.equal(images, shown[0][0]) for images, _ in shown[1:])


def test_a_run_goes_on_with_the_teachers_it_began_with_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(run: object) -> None:
        raise KeyboardInterrupt

    file = saved(network(seed=1), tmp_path / "a.safetensors")
    settings = toy.settings(output=str(tmp_path / "run"), teachers=(file,), epochs=2, checkpoint_minutes=0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer._Training, "_save_epoch", end)
        train(settings, toy.splits())
    before = Path(file).read_bytes()
    saved(network(seed=2), Path(file))
    with pytest.raises(InputError, match=r"the weights of the teachers .*a\.safetensors changed since the run began"):
        resume(tmp_path / "run", toy.splits())
    Path(file).write_bytes(before)
    assert len(resume(tmp_path / "run", toy.splits()).history) == 2


def test_a_run_learns_what_its_teacher_says(tmp_path: Path) -> None:
    splits = toy.splits()
    learned = train(toy.settings(output=str(tmp_path / "first"), epochs=12), splits)
    wrong = dict(splits, train=LabeledImages(splits["train"].images, 0 * splits["train"].labels, toy.CLASSES))
    wrong["train"].labels[:2] = 1, 2  # nearly all images are said to be of the first class
    changes = dict(epochs=12, teachers=(str(learned.folder),), teacher_share=1.0)
    corrected = train(toy.settings(output=str(tmp_path / "second"), **changes), wrong)
    assert learned.validation.accuracy > 0.6
    assert corrected.validation.accuracy > 0.6
