"""`qcs visualize`: what it draws, from which faces, the numbers beside it, and one line where it cannot."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

import qcs
from qcs import cli
from qcs.data import read
from qcs.models import load_model, save_model
from qcs.report.sample_faces import SampleFaces
from qcs.visualize import compare

Run = Callable[..., tuple[object, str, str]]
HISTORY = [{"epoch": 1, "train_base_loss": 1.1, "train_cross_loss": 1.0, "validation_accuracy": 0.4}]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with faces and the runs of a quadruplet, a dual and a base network."""
    folder = tmp_path_factory.mktemp("visualize")
    torch.manual_seed(0)
    for name in ("qcs", "dcs", "base"):
        model = qcs.create_model(f"{name}_nano", num_classes=3).eval()
        model.name_classes(toy.CLASSES)
        save_model(model, folder / name / "best.safetensors")
        (folder / name / "metrics.json").write_text(json.dumps(HISTORY))
    toy.archive(folder / "faces.npz", subjects=np.array([f"person {row % 4}" for row in range(63)]))
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, workplace: Path) -> Run:
    """The command in this process, in a copy of that folder."""
    shutil.copytree(workplace, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)

    def call(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["qcs", "visualize", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return call


def written(folder: str = "pictures") -> list[str]:
    return sorted(path.name for path in Path(folder).glob("*"))


def facts(name: str) -> dict[str, object]:
    content: dict[str, object] = json.loads(Path("pictures", f"{name}.json").read_text())
    return content


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(Path("pictures", f"{name}.npz"), allow_pickle=False) as file:
        return dict(file)


@pytest.mark.slow
def test_all_draws_what_each_network_can_show_and_says_what_it_leaves_out(run: Run) -> None:
    pytest.importorskip("pytorch_grad_cam")
    status, out, err = run("all", "qcs", "base", "--data", "faces.npz")
    assert (status, err) == (0, "")
    own = [f"{kind}-qcs" for kind in ("similarity", "classes", "features")]
    names = [*own, "embedding-qcs", "embedding-base", "attention", "cam", "confusion", "curves"]
    assert {path.stem for path in Path("pictures").glob("*.png")} == set(names)
    assert all(f"wrote pictures/{name}.png\n" in out for name in names)
    for kind in ("similarity", "classes", "features"):
        assert f"left out {kind}-base: base_nano is a base network without a cross part" in out
    assert list(arrays("attention")) == ["qcs"]
    assert arrays("cam")["base"].shape == (3, 48, 48)


def test_numbers_are_those_of_the_faces_named(run: Run) -> None:
    assert run("similarity", "dcs", "--data", "faces.npz", "--anchor", "sadness", "--seed", "3")[0] == 0
    assert written() == ["similarity.json", "similarity.npz", "similarity.png"]
    stated = facts("similarity")
    assert (stated["seed"], stated["split"], stated["level"], stated["data"]) == (3, "test", 3, "faces.npz")
    assert stated["weights"] == {"dcs": "dcs"}
    assert [face["class"] for face in stated["faces"]] == ["sad", "sad"]  # type: ignore[attr-defined]
    images, model = read("faces.npz")["test"], load_model("dcs/best.safetensors")
    chosen = SampleFaces(images, "sad", 3)
    pair = compare(model, chosen.prepared(model, chosen.pair())).pair(0, 1)
    np.testing.assert_allclose(arrays("similarity")["cross_distance"], pair.distance, atol=1e-4)


def test_an_anchor_meets_every_class_and_another_image_of_its_own(run: Run) -> None:
    assert run("classes", "qcs/best.safetensors", "--data", "faces.npz", "--level", "1", "--format", "svg")[0] == 0
    assert written() == ["classes.json", "classes.npz", "classes.svg"]
    faces = facts("classes")["anchor_first"]
    assert [face["class"] for face in faces] == ["happy", "happy", "sad", "anger"]  # type: ignore[attr-defined]
    assert faces[0]["image"] != faces[1]["image"]  # type: ignore[index]
    assert arrays("classes")["dissimilarity_of_image"].shape == (3, 3, 6, 6)


def test_six_others_are_two_of_the_class_and_four_of_others(run: Run) -> None:
    assert run("features", "qcs", "--data", "faces.npz", "--output", "pictures")[0] == 0
    faces = facts("features")["image_first"]
    assert [face["class"] for face in faces] == ["happy"] * 3 + ["sad", "anger"] * 2  # type: ignore[attr-defined]
    assert len({face["image"] for face in faces}) == 7  # type: ignore[attr-defined]


def test_networks_stand_beside_one_another(run: Run) -> None:
    assert run("attention", "dcs", "qcs", "--data", "faces.npz")[0] == 0
    weights = arrays("attention")
    assert list(weights) == ["dcs", "qcs"]
    for of in weights.values():
        assert of.shape == (3, 3, 36)
        np.testing.assert_allclose(of.sum(-1), 1, atol=1e-4)
    assert run("confusion", "base", "qcs", "--data", "faces.npz")[0] == 0
    assert arrays("confusion")["base"].sum() == facts("confusion")["qcs"]["images"] == 15  # type: ignore[index]


def test_networks_of_another_class_order_are_counted_by_name(run: Run) -> None:
    model = load_model("base/best.safetensors")
    torch.nn.init.zeros_(model.base.head.weight)
    model.base.head.bias.data = torch.tensor([0.0, 0.0, 9.0])  # says anger, whatever it sees
    save_model(model, "angry.safetensors")
    model.base.head.bias.data = torch.tensor([9.0, 0.0, 0.0])
    model.name_classes(["anger", "sad", "happy"])
    save_model(model, "also.safetensors")
    assert run("confusion", "angry.safetensors", "also.safetensors", "--data", "faces.npz")[0] == 0
    counts = arrays("confusion")
    np.testing.assert_array_equal(counts["also"], counts["angry"])
    assert counts["also"][:, toy.CLASSES.index("anger")].tolist() == [5, 5, 5]


def test_an_embedding_is_colored_by_person_where_people_are_known(run: Run) -> None:
    assert run("embedding", "base", "--data", "faces.npz", "--split", "all")[0] == 0
    stored = arrays("embedding")
    assert stored["points"].shape == (63, 2)
    assert set(stored["person"]) == {f"person {number}" for number in range(4)}
    assert set(facts("embedding")["nearest_neighbor_in_the_same"]) == {"class", "person"}  # type: ignore[call-overload]


def test_curves_need_no_faces(run: Run) -> None:
    assert run("curves", "qcs", "base") == (0, "wrote pictures/curves.png\n", "")
    assert written() == ["curves.json", "curves.png"]
    assert facts("curves")["histories"] == {"qcs": HISTORY, "base": HISTORY}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("portrait qcs", "kind must be one of similarity, classes, .*, all; got 'portrait'"),
        ("similarity gone --data faces.npz", "no weights found for 'gone': .*"),
        ("similarity qcs", "the figure 'similarity' shows faces; choose them with --data"),
        ("similarity base --data faces.npz", "base_nano is a base network without a cross part and .*"),
        ("attention base --data faces.npz", "base_nano is a base network without a cross part and .*"),
        ("similarity qcs --data gone.npz", r"gone\.npz does not exist; .*"),
        ("similarity qcs --data faces.npz --split best", "split must be one of .*; got 'best'"),
        (
            "classes qcs --data faces.npz --anchor fear",
            "the anchor class 'fear' has 0 images; expected at least 2: choose one of happy, sad, anger",
        ),
        ("classes qcs --data faces.npz --level 4", "level 4 does not exist; this network has the levels 1 to 3"),
        ("curves qcs/best.safetensors other.safetensors", "no weights found for 'other.safetensors': .*"),
        ("curves qcs/../qcs qcs", "the same weights are given twice; give each once"),
        ("cam qcs --data faces.npz --format docx", r"cannot write a picture to 'cam\.docx': .*"),
    ],
)
def test_what_cannot_be_drawn_ends_in_one_line(run: Run, arguments: str, message: str) -> None:
    status, out, err = run(*arguments.split())
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"error: {message}\n", err), err
    assert written() == []


def test_without_its_extra_a_picture_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    status, _, err = run("cam", "base", "--data", "faces.npz")
    assert (status, err) == (1, "error: Grad-CAM needs grad-cam; run: pip install 'qcs-fer[viz]'\n")


def test_weights_without_a_run_have_no_curves(run: Run) -> None:
    Path("qcs/metrics.json").unlink()
    assert (
        run("curves", "qcs")[2]
        == "error: qcs has no metrics.json beside its weights; give a run folder to draw curves\n"
    )
    Path("qcs/metrics.json").write_text("[")
    assert run("curves", "qcs")[2].startswith("error: qcs/metrics.json is corrupt: ")


def test_networks_of_other_classes_are_drawn_apart(run: Run) -> None:
    save_model(qcs.create_model("base_nano", num_classes=2).eval(), "two.safetensors")
    status, _, err = run("confusion", "qcs", "two.safetensors", "--data", "faces.npz")
    assert (status, err) == (1, "error: qcs has the classes happy, sad, anger, two has 0, 1; draw them separately\n")
