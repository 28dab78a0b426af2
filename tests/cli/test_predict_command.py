"""Predicting from a weights file: which pictures, and what is printed, written and drawn."""

from __future__ import annotations

import csv
import importlib
import io
import json
from pathlib import Path

import pytest
import toy
from fixed_faces import FixedFaces, needs_extra
from PIL import Image
from rich.console import Console

from qcs.cli.predict import predict_crops, predict_pictures
from qcs.data import LabeledImages
from qcs.engine.training import RunResult, train
from qcs.errors import InputError
from qcs.models import load_model, save_model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run that has learned its classes, so that mixing them up would show."""
    folder = tmp_path_factory.mktemp("training")
    return train(toy.settings(toy.archive(folder / "squares.npz"), output=str(folder / "run"), epochs=6, resize=52))


# Images that are one face each


def test_predictions_are_printed_and_written_as_json_and_csv(run: RunResult, tmp_path: Path) -> None:
    files = toy.photos(tmp_path / "photos [/of] people", 3)
    text = io.StringIO()
    for name in ("out.json", "out.csv"):
        assert predict_crops(str(run.folder), [str(files[0].parent)], str(tmp_path / name), Console(file=text)) == []
    records = json.loads((tmp_path / "out.json").read_text())
    assert [record["path"] for record in records] == [str(file) for file in files]
    assert [record["label"] for record in records] == list(toy.CLASSES)
    assert all(list(record["probabilities"]) == list(toy.CLASSES) for record in records)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    for row, record in zip(rows, records, strict=True):
        assert (row["path"], row["label"]) == (record["path"], record["label"])
        assert {name: float(row[name]) for name in toy.CLASSES} == record["probabilities"]
    assert f"{files[0]}  happy  {records[0]['probabilities']['happy']:.1%}\n" in text.getvalue()
    assert f"wrote {tmp_path / 'out.csv'}\n" in text.getvalue()


def test_folders_are_searched_for_images_of_every_kind(run: RunResult, tmp_path: Path) -> None:
    (file,) = toy.photos(tmp_path / "photos" / "below", 1)
    image = LabeledImages([file], [0], ["x"]).image(0)
    for suffix in ("png", "PGM", "webp"):
        image.save(file.with_suffix(f".{suffix}"))
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "photos" / "folder.png").mkdir()
    text = io.StringIO()
    assert predict_crops(str(run.folder), [str(tmp_path / "photos")], None, Console(file=text)) == []
    assert len(text.getvalue().splitlines()) == 4


def test_unreadable_images_are_returned_and_the_others_written(run: RunResult, tmp_path: Path) -> None:
    files = toy.photos(tmp_path / "photos", 3)
    files[1].write_bytes(files[1].read_bytes()[:100])
    errors = predict_crops(str(run.folder), [str(tmp_path / "photos")], str(tmp_path / "out.json"), Console(quiet=True))
    assert [str(files[1]) in str(error) for error in errors] == [True]
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2


def test_where_no_image_can_be_read_nothing_is_written(run: RunResult, tmp_path: Path) -> None:
    (file,) = toy.photos(tmp_path, 1)
    file.write_bytes(b"")
    assert len(predict_crops(str(run.folder), [str(file)], str(tmp_path / "out.csv"), Console(quiet=True))) == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("images", "output", "message"),
    [
        (["gone.jpg"], None, "no image or folder at gone.jpg"),
        (["."], None, r"no images in \.; expected files ending in \.bmp, .*\.webp"),
        (["."], "out.txt", "output must end in .json or .csv, got out.txt"),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    run: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: list[str],
    output: str | None,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        predict_crops(str(run.folder), images, output, Console(quiet=True))


# Pictures to find faces in


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs no extra: a face per 100 pixels of width."""
    monkeypatch.setattr("qcs.cli.predict.MTCNN", lambda min_face: FixedFaces())


def found(run: RunResult, sources: list[Path], output: Path | None = None, **options: object) -> tuple[list, str]:
    text = io.StringIO()
    annotated = str(options.pop("annotated", "")) or None
    names = [str(source) for source in sources]
    console = Console(file=text, width=200)
    errors = predict_pictures(str(run.folder), names, str(output) if output else None, annotated, console, **options)
    return errors, text.getvalue()


def picture(path: Path, width: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((width, 120), 80).save(path)
    return path


@pytest.mark.usefixtures("detector")
def test_faces_are_cut_out_as_those_that_the_network_was_trained_on(
    run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops: list[str] = []
    module = importlib.import_module("qcs.engine.prediction")
    monkeypatch.setattr(module, "align", lambda image, face, side, crop: crops.append(crop) or image)
    file = save_model(load_model(run.folder / "best.safetensors"), tmp_path / "w.safetensors", info={"crop": "loose"})
    photo = str(picture(tmp_path / "a.png", 150))
    for weights, chosen in ((file, None), (run.folder, None), (run.folder, "arcface")):
        predict_pictures(str(weights), [photo], None, None, Console(quiet=True), crop=chosen)
    with pytest.warns(UserWarning, match="trained on faces cut out as loose, not as arcface"):
        predict_pictures(str(file), [photo], None, None, Console(quiet=True), crop="arcface")
    assert crops == ["loose", "fer2013", "arcface", "arcface"]


@pytest.mark.usefixtures("detector")
def test_a_record_per_picture_holds_its_faces_even_if_there_are_none(run: RunResult, tmp_path: Path) -> None:
    for name, width in (("a.png", 250), ("b/none.png", 90)):
        picture(tmp_path / "in" / name, width)
    errors, text = found(run, [tmp_path / "in"], tmp_path / "out.json")
    assert errors == []
    two, none = json.loads((tmp_path / "out.json").read_text())
    assert none == {"path": str(tmp_path / "in" / "b" / "none.png"), "faces": []}
    assert [list(face) for face in two["faces"]] == [["box", "score", "landmarks", "label", "probabilities"]] * 2
    first, second = two["faces"]
    assert (first["box"], first["score"], first["landmarks"]["nose"]) == ([10, 20, 80, 90], 0.99, [45, 62])
    assert second["box"] == [110, 20, 170, 80]
    assert list(first["probabilities"]) == list(toy.CLASSES)
    told = ", ".join(f"{face['label']} {face['probabilities'][face['label']]:.1%}" for face in two["faces"])
    assert text.splitlines() == [
        f"{tmp_path / 'in' / 'a.png'}  {told}",
        f"{tmp_path / 'in' / 'b' / 'none.png'}  no face",
        f"wrote {tmp_path / 'out.json'}",
    ]


@pytest.mark.usefixtures("detector")
def test_a_table_has_a_row_per_face_with_the_numbers_of_the_records(run: RunResult, tmp_path: Path) -> None:
    sources = [picture(tmp_path / "a.png", 250), picture(tmp_path / "b.png", 90), picture(tmp_path / "c.png", 110)]
    for name in ("out.json", "out.csv"):
        found(run, sources, tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    records = json.loads((tmp_path / "out.json").read_text())
    faces = [(record["path"], face) for record in records for face in record["faces"]]
    assert len(rows) == len(faces) == 3
    for row, (path, face) in zip(rows, faces, strict=True):
        assert (row["path"], row["frame"], row["label"]) == (path, "", face["label"])
        assert [float(row[edge]) for edge in ("left", "top", "right", "bottom")] == face["box"]
        assert [float(row["mouth_left_x"]), float(row["mouth_left_y"])] == face["landmarks"]["mouth_left"]
        assert float(row["score"]) == face["score"]
        assert {name: float(row[name]) for name in toy.CLASSES} == face["probabilities"]


@pytest.mark.usefixtures("detector")
def test_annotated_pictures_keep_the_tree_and_never_share_a_name(run: RunResult, tmp_path: Path) -> None:
    sources = [picture(tmp_path / "in" / "deep" / "a.png", 150).parents[1], picture(tmp_path / "x" / "a.png", 90)]
    sources.append(picture(tmp_path / "y" / "a.png", 150))
    _, text = found(run, sources, annotated=tmp_path / "drawn")
    drawn = {path.relative_to(tmp_path / "drawn").as_posix(): path for path in (tmp_path / "drawn").rglob("*.png")}
    assert sorted(drawn) == ["a-2.png", "a.png", "deep/a.png"]
    boxed = {name: (86, 180, 233) in Image.open(path).get_flattened_data() for name, path in drawn.items()}
    assert boxed == {"a-2.png": True, "a.png": False, "deep/a.png": True}
    assert f"wrote 3 pictures to {tmp_path / 'drawn'}\n" in text


@pytest.mark.usefixtures("detector")
def test_a_picture_is_never_replaced_by_its_annotated_copy(run: RunResult, tmp_path: Path) -> None:
    path = picture(tmp_path / "in" / "a.png", 150)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"the annotated picture would replace .*a\.png, which is to be read; choose"):
        found(run, [tmp_path / "in"], annotated=tmp_path / "in")
    assert path.read_bytes() == before


@pytest.mark.usefixtures("detector")
def test_an_unreadable_picture_is_returned_and_the_others_written(run: RunResult, tmp_path: Path) -> None:
    files = [picture(tmp_path / "in" / f"{number}.png", 150) for number in range(3)]
    files[1].write_bytes(b"")
    errors, _ = found(run, [tmp_path / "in"], tmp_path / "out.json")
    assert [str(files[1]) in str(error) for error in errors] == [True]
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_video_has_a_record_per_frame_taken(run: RunResult, tmp_path: Path) -> None:
    import cv2
    import numpy as np

    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96))
    for number in range(5):
        writer.write(np.full((96, 128, 3), 40 * number, np.uint8))
    writer.release()
    _, text = found(run, [tmp_path / "clip.avi"], tmp_path / "out.json", every=2, annotated=tmp_path / "drawn")
    records = json.loads((tmp_path / "out.json").read_text())
    assert [(record["frame"], record["seconds"], len(record["faces"])) for record in records] == [
        (0, 0.0, 1),
        (2, 0.2, 1),
        (4, 0.4, 1),
    ]
    assert [path.name for path in sorted((tmp_path / "drawn").iterdir())] == [
        f"clip-{number:06}.png" for number in (0, 2, 4)
    ]
    assert "clip.avi frame 2  " in text


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_camera_that_the_user_interrupts_leaves_what_it_has_shown(
    run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcs.cli.predict.MTCNN", lambda min_face: FixedFaces(fails_at=[90]))
    path = picture(tmp_path / "a.png", 150)
    interrupted = picture(tmp_path / "b.png", 90)
    read = __import__("qcs.faces", fromlist=["pictures"]).pictures
    monkeypatch.setattr("qcs.cli.predict.pictures", lambda *_: read([path, interrupted]))
    errors, _ = found(run, [Path("camera")], tmp_path / "out.json")
    assert errors == []
    assert [record["path"] for record in json.loads((tmp_path / "out.json").read_text())] == [str(path)]
    with pytest.raises(KeyboardInterrupt):
        found(run, [path, interrupted])


@pytest.mark.usefixtures("detector")
def test_faces_that_cannot_be_looked_for_are_refused(run: RunResult, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 150)
    for message, sources, options in (
        ("no image, video or folder at .*gone", [tmp_path / "gone"], {}),
        ("output must end in .json or .csv", [path], {"output": tmp_path / "out.txt"}),
        ("crop must be one of fer2013, arcface, loose; got 'tight'", [path], {"crop": "tight"}),
        ("every is 0; expected at least 1", [path], {"every": 0}),
    ):
        with pytest.raises(InputError, match=message):
            found(run, sources, **options)
    assert list(tmp_path.iterdir()) == [path]
