"""The crop of the faces of a training: where it is found, that weights keep it, and that it is used to predict."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import toy
from PIL import Image

import qcs
from qcs.data import LabeledImages, read
from qcs.engine import trained_crop
from qcs.engine.face_crop import crop_of_images, crop_to_predict, warn_of_other_crop
from qcs.engine.training import train
from qcs.engine.training.data import with_crop
from qcs.errors import InputError
from qcs.faces.align_log import NAME, crop_of
from qcs.models import save_model


def log(folder: Path, crop: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_text(json.dumps({"size": 112, "crop": crop, "faces": "best"}) + "\n")


def images(*folders: Path) -> LabeledImages:
    return LabeledImages([folder / f"{n}.png" for n, folder in enumerate(folders)], [0] * len(folders), ["happy"])


def weights(folder: Path, **info: Any) -> Path:
    return save_model(qcs.create_model("qcs_nano"), folder / "weights.safetensors", info=info)


def test_the_nearest_log_above_tells_the_crop(tmp_path: Path) -> None:
    assert crop_of(tmp_path) is None
    log(tmp_path, "arcface")
    log(tmp_path / "b", "loose")
    assert [crop_of(tmp_path / place) for place in ("", "a/train/happy", "b", "b/train")] == [
        "arcface", "arcface", "loose", "loose",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[]\n", b'{"size": 3}\n', b'{"crop": "tight"}\n', b'{"crop": []}\n', b"[" * 9999]
)
def test_a_file_that_is_no_log_tells_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    assert crop_of(tmp_path) is None


def test_images_have_a_crop_only_where_all_of_them_share_it(tmp_path: Path) -> None:
    for place, crop in (("a", "arcface"), ("b", "arcface"), ("c", "loose")):
        log(tmp_path / place, crop)
    a, b, c, none = (tmp_path / place for place in "abcd")
    assert crop_of_images(images(a / "train", a / "test", b)) == "arcface"
    assert crop_of_images(images(a, c)) is None
    assert crop_of_images(images(a, none)) is None
    assert crop_of_images(toy.splits("train")["train"]) is None  # in memory


def test_a_crop_that_is_set_wins_over_the_log_with_a_warning(tmp_path: Path) -> None:
    log(tmp_path, "arcface")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_crop(toy.settings(), images(tmp_path)).crop == "arcface"
        assert with_crop(toy.settings(crop="arcface"), images(tmp_path)).crop == "arcface"
        assert with_crop(toy.settings(crop="loose"), images(tmp_path.parent)).crop == "loose"
    with pytest.warns(
        UserWarning, match="says that the faces of .* have the crop arcface; the weights will name the crop loose"
    ):
        assert with_crop(toy.settings(crop="loose"), images(tmp_path)).crop == "loose"
    with pytest.raises(InputError, match="crop must be one of fer2013, arcface, loose; got 'tight'"):
        toy.settings(crop="tight")


def test_what_is_predicted_is_cut_out_as_trained_or_as_chosen_with_a_warning(tmp_path: Path) -> None:
    path = weights(tmp_path, crop="loose")
    assert trained_crop(path) == crop_to_predict(path, None) == crop_to_predict(path, "loose") == "loose"
    with pytest.warns(UserWarning, match=r"weights\.safetensors was trained with the crop loose, not arcface"):
        assert crop_to_predict(path, "arcface") == "arcface"


@pytest.mark.parametrize("info", [{}, {"crop": None}, {"crop": "tight"}, {"crop": ["loose"]}])
def test_weights_that_do_not_say_get_the_default(tmp_path: Path, info: dict[str, Any]) -> None:
    path = weights(tmp_path, **info)
    assert trained_crop(path) is None
    assert (crop_to_predict(path, None), crop_to_predict(path, "loose")) == ("fer2013", "loose")


def test_evaluating_on_images_of_another_crop_is_warned_of(tmp_path: Path) -> None:
    path = weights(tmp_path, crop="loose")
    log(tmp_path / "a", "arcface")
    with pytest.warns(UserWarning, match="trained with the crop loose, the faces of a have the crop arcface"):
        warn_of_other_crop(path, images(tmp_path / "a"), "a")
    log(tmp_path / "a", "loose")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_other_crop(path, images(tmp_path / "a"), "a")
        warn_of_other_crop(path, images(tmp_path / "unknown"), "unknown")


def test_a_run_on_aligned_faces_keeps_their_crop_in_settings_and_weights(tmp_path: Path) -> None:
    data = toy.tree(tmp_path / "faces")
    log(data, "loose")
    result = train(toy.settings(data, output=str(tmp_path / "run")))
    assert json.loads((result.folder / "config.json").read_text())["config"]["crop"] == "loose"
    assert [trained_crop(result.folder / f"{name}.safetensors") for name in ("best", "last")] == ["loose"] * 2


def test_a_log_beside_images_that_are_read_as_a_dataset_is_found(tmp_path: Path) -> None:
    data = toy.tree(tmp_path / "faces")
    log(data, "arcface")
    assert crop_of_images(read(data)["train"]) == "arcface"
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    (tmp_path / "list.txt").write_text("x.png happy\n")
    assert crop_of_images(read(tmp_path / "list.txt")["all"]) is None
