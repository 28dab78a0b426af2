"""Analyzed images agree with predictions on their files, and show what the network gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from fixed_faces import FixedFaces
from PIL import Image
from timm.data import resolve_model_data_config

import qcs
from qcs.engine import predict, predict_faces
from qcs.errors import InputError
from qcs.faces import Picture
from qcs.models import CrossSimilarityNetwork
from qcs.serve.analysis import analyze, choose, compare_faces
from qcs.serve.uploads import Upload


@pytest.fixture
def model() -> CrossSimilarityNetwork:
    network: Any = qcs.create_model("qcs_nano", num_classes=3)
    network.name_classes(toy.CLASSES)
    return network.eval()


def noise(width: int, height: int = 100) -> Upload:
    """A picture in which FixedFaces finds a face per 100 pixels of width."""
    return Upload(f"{width}.png", Image.effect_noise((width, height), 60).convert("RGB"))


def test_faces_cut_out_already_are_read_as_prediction_reads_their_files(
    model: CrossSimilarityNetwork, tmp_path: Path
) -> None:
    files = toy.photos(tmp_path / "photos", 3)
    seen = analyze(model, [Upload(file.name, Image.open(file)) for file in files], detector=None)
    for one, expected in zip(seen, predict(model, files), strict=True):
        [face] = one.faces
        assert face.probabilities == pytest.approx(expected[0].probabilities, abs=1e-6)
        assert (face.label, face.box) == (expected[0].label, None)


def test_faces_found_are_read_and_cropped_as_prediction_reads_and_crops_them(
    model: CrossSimilarityNetwork,
) -> None:
    uploads = [noise(120), noise(320)]
    pictures = [Picture(upload.name, upload.image, Path(upload.name)) for upload in uploads]
    expected = list(predict_faces(model, pictures, detector=FixedFaces(), crop="arcface"))
    seen = analyze(model, uploads, FixedFaces(), crop="arcface")
    assert [len(one.faces) for one in seen] == [1, 3]
    for one, shown in zip(seen, expected, strict=True):
        assert one.faces == shown
    chosen = choose(model, seen, crop="arcface")
    assert [face.name for face in chosen] == ["A1", "B1", "B2", "B3"]
    with torch.inference_mode():
        again = model(torch.stack([face.pixels for face in chosen])).softmax(-1)
    rows = torch.tensor([list(face.prediction.probabilities.values()) for face in chosen])
    torch.testing.assert_close(again, rows)


@pytest.mark.parametrize("detector", [None, FixedFaces()])
def test_the_face_shown_is_the_part_that_the_network_gets(
    model: CrossSimilarityNetwork, detector: FixedFaces | None
) -> None:
    model.pretrained_cfg = {**model.pretrained_cfg, "crop_pct": 0.8}  # so that the edges are cut off
    gradient = Image.linear_gradient("L").resize((150, 120)).convert("RGB")
    [seen] = choose(model, analyze(model, [Upload("a", gradient)], detector))
    config = resolve_model_data_config(model)
    mean, std = (torch.tensor(config[name])[:, None, None] for name in ("mean", "std"))
    given = (seen.pixels * std + mean).permute(1, 2, 0).numpy()
    shown = np.asarray(seen.face.resize((48, 48), Image.Resampling.BOX)) / 255
    assert np.abs(shown - given).max() < 0.03


def test_images_without_a_face_are_all_named(model: CrossSimilarityNetwork) -> None:
    with pytest.raises(InputError, match=r"^no face found in 50\.png, 90\.png; choose a photo"):
        analyze(model, [noise(50), noise(150), noise(90)], FixedFaces())


def test_two_faces_and_more_are_compared_unless_by_a_base_network(model: CrossSimilarityNetwork) -> None:
    seen = choose(model, analyze(model, [noise(110), noise(120), noise(130)], FixedFaces()))
    assert compare_faces(model, seen[:1]) is None
    compared = compare_faces(model, seen)
    assert compared is not None and len(compared) == 3
    base: Any = qcs.create_model("base_nano", num_classes=3)
    assert compare_faces(base, seen) is None
