"""Libraries get the same images and are compared on the same classes; one that fails costs no other its results."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import libraries
from benchmarks.peers.comparison import compared, predictions, shared_classes
from benchmarks.peers.environment import classify, installed, python_of
from benchmarks.peers.libraries import LIBRARIES, Library, library
from qcs.data import LabeledImages
from qcs.errors import InputError

IMAGES = LabeledImages(np.zeros((4, 8, 8), np.uint8), [0, 1, 2, 0], ["happy", "sad", "contempt"])
OURS = {
    "probabilities": np.float32([[0.2, 0.7, 0.1], [0, 1, 0], [0, 0, 1], [0, 0, 1]]),
    "classes": np.array(["sad", "happy", "contempt"]),
}
THEIRS = {"probabilities": np.float32([[0.9, 0.1], [0.1, 0.9], [1, 0], [1, 0]]), "classes": np.array(["Happy", "Sad"])}

ECHO = """
import sys, numpy as np
images = np.load(sys.argv[1])["images"]
rows = np.stack([images[:, 0, 0] / 255, 1 - images[:, 0, 0] / 255], 1)
np.savez(sys.argv[2], probabilities=rows, classes=["happy", "sad"], seconds=np.ones(len(images)))
"""


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A library that reads the class from the first pixel."""
    monkeypatch.setattr(libraries, "WORKERS", tmp_path)
    (tmp_path / "echo_worker.py").write_text(ECHO)
    return Library("echo", "echo", (), "none")


def test_only_classes_that_all_have_are_compared_under_their_canonical_names() -> None:
    assert shared_classes([OURS, THEIRS], IMAGES) == ("happy", "sad")
    found = predictions(OURS, IMAGES, ("happy", "sad"))
    assert (found.labels.tolist(), found.predicted.tolist()) == ([0, 1, 0], [0, 0, 0])
    np.testing.assert_allclose(found.probabilities[0], [0.7 / 0.9, 0.2 / 0.9], rtol=1e-5)


def test_every_library_has_the_same_images_in_each_part() -> None:
    parts = {"all": np.ones(4, bool), "first": np.array([True, False, True, False])}
    found = compared({"ours": OURS, "theirs": THEIRS}, IMAGES, parts)
    assert {name: own["images"] for name, own in found["all"].items()} == {"ours": 3, "theirs": 3}
    assert {name: own["images"] for name, own in found["first"].items()} == {"ours": 1, "theirs": 1}
    assert found["all"]["theirs"]["accuracy"][0] == 1.0


def test_a_worker_gets_the_images_and_returns_their_probabilities(echo: Library, tmp_path: Path) -> None:
    images = np.zeros((3, 8, 8), np.uint8)
    images[1] = 255
    answer = classify(echo, python_of(echo, tmp_path), images, tmp_path)
    assert answer["probabilities"][:, 0].tolist() == [0, 1, 0]


def test_a_worker_that_fails_says_why_in_one_line(echo: Library, tmp_path: Path) -> None:
    echo.worker.write_text("raise SystemExit('no weights here')")
    with pytest.raises(InputError, match=r"^echo: .* failed: no weights here$"):
        classify(echo, python_of(echo, tmp_path), np.zeros((1, 8, 8), np.uint8), tmp_path)


def test_the_size_is_that_of_a_library_and_all_that_it_needs() -> None:
    found = installed(Library("rich", "rich", (), "MIT"), Path(sys.executable))
    assert {"rich", "pygments", "markdown-it-py"} <= found["sizes"].keys()
    assert "torch" not in found["sizes"] and min(found["sizes"].values()) > 1000


def test_every_library_has_a_worker_and_an_exact_version() -> None:
    for each in LIBRARIES:
        assert each.worker.exists()
        assert all("==" in requirement for requirement in each.requirements)
    with pytest.raises(KeyError, match="expected one of qcs, fer"):
        library("unknown")
