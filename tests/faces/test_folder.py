"""Aligning a folder: what lies where afterwards, what the log says, and going on after being stopped at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import toy
from fixed_faces import FixedFaces, needs_extra
from PIL import Image

from qcs.errors import InputError
from qcs.faces import MTCNN, align, align_folder
from qcs.faces.folder import Aligned

WIDTHS = {"a.png": 150, "deep/b.jpg": 250, "deep/c.bmp": 350, "none.jpg": 90}  # one, two, three faces and none


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, width in WIDTHS.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((width, 120), 80).save(path)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "in"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "align.jsonl").read_text().splitlines()]


def test_the_tree_is_kept_and_the_best_face_has_its_picture_s_name(source: Path, tmp_path: Path) -> None:
    done = align_folder(source, tmp_path / "out", size=64, crop="arcface", detector=FixedFaces)
    assert sorted(files(tmp_path / "out")) == ["a.png", "align.jsonl", "deep/b.jpg", "deep/c.bmp"]
    with Image.open(source / "a.png") as picture:
        expected = align(picture, FixedFaces()(picture)[0], 64, "arcface")
    assert np.array_equal(Image.open(tmp_path / "out" / "a.png"), expected)
    assert done == Aligned(pictures=5, before=0, aligned=3, faces=3, without=1, unreadable=1)
    assert str(done) == "3 faces from 3 of 5 pictures; 1 without a face, 1 unreadable, 0 done before"


def test_all_faces_are_numbered_from_the_largest(source: Path, tmp_path: Path) -> None:
    done = align_folder(source, tmp_path / "out", faces="all", detector=FixedFaces)
    names = ["a_1.png", "deep/b_1.jpg", "deep/b_2.jpg", "deep/c_1.bmp", "deep/c_2.bmp", "deep/c_3.bmp"]
    assert sorted(files(tmp_path / "out")) == sorted([*names, "align.jsonl"])
    assert (done.aligned, done.faces) == (3, 6)


def test_the_log_says_what_was_cut_out_and_why_the_rest_was_not(source: Path, tmp_path: Path) -> None:
    align_folder(source, tmp_path / "out", detector=FixedFaces)
    settings, run, *records = log(tmp_path / "out")
    assert settings == {"size": 112, "crop": "fer2013", "faces": "best"}
    assert run["process"] == os.getpid() and run["host"] and run["started"].startswith("20")
    by_path = {record["path"]: record for record in records}
    assert list(by_path) == ["a.png", "broken.jpg", "deep/b.jpg", "deep/c.bmp", "none.jpg"]
    (crop,) = by_path["deep/b.jpg"]["crops"]
    assert (crop["file"], crop["box"], crop["score"]) == ("deep/b.jpg", [10, 20, 80, 90], 0.99)
    assert by_path["none.jpg"] == {"path": "none.jpg", "skipped": "no face"}
    assert by_path["broken.jpg"]["skipped"].startswith(f"cannot read image {source / 'broken.jpg'}: ")


def test_what_is_done_is_not_done_again_but_unreadable_files_are_tried_again(source: Path, tmp_path: Path) -> None:
    align_folder(source, tmp_path / "out", detector=FixedFaces)
    before = files(tmp_path / "out")
    Image.new("L", (130, 120)).save(source / "broken.jpg")
    detector = FixedFaces()
    done = align_folder(source, tmp_path / "out", detector=lambda: detector)
    assert detector.seen == [130]
    assert done == Aligned(pictures=5, before=4, aligned=1, faces=1, without=0, unreadable=0)
    after = files(tmp_path / "out")
    assert {name: after[name] for name in before if name != "align.jsonl"}.items() <= before.items()


@pytest.mark.parametrize("stop", [150, 250, 90])
def test_a_stopped_run_goes_on_to_the_same_files(source: Path, tmp_path: Path, stop: int) -> None:
    align_folder(source, tmp_path / "whole", detector=FixedFaces)
    with pytest.raises(KeyboardInterrupt):
        align_folder(source, tmp_path / "out", detector=partial(FixedFaces, fails_at=[stop]))
    (tmp_path / "out" / ".a.png.123.tmp").write_bytes(b"half an image")
    with (tmp_path / "out" / "align.jsonl").open("a") as file:
        file.write('{"path": "deep/b.j')  # cut off while it was written
    align_folder(source, tmp_path / "out", detector=FixedFaces)
    whole, resumed = files(tmp_path / "whole"), files(tmp_path / "out")
    assert resumed.keys() == whole.keys()
    assert all(resumed[name] == whole[name] for name in whole if name != "align.jsonl")
    assert {record.get("path") for record in log(tmp_path / "out")} == {r.get("path") for r in log(tmp_path / "whole")}


@needs_extra
@pytest.mark.slow
def test_several_processes_leave_the_same_files_as_one(tmp_path: Path, shared_data: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    with Image.open(shared_data / "photos" / "astronaut.png") as picture:
        for number in range(3):
            picture.crop((100 + number, 0, 400, 300)).save(source / f"{number}.png")
    (source / "broken.png").write_bytes(b"")
    alone = align_folder(source, tmp_path / "one", detector=partial(MTCNN, 60))
    together = align_folder(source, tmp_path / "two", workers=2, detector=partial(MTCNN, 60))
    assert alone == together == Aligned(pictures=4, before=0, aligned=3, faces=3, without=0, unreadable=1)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if name != "align.jsonl")
    assert [r for r in log(tmp_path / "one") if "path" in r] == [r for r in log(tmp_path / "two") if "path" in r]


def test_faces_of_other_settings_are_not_mixed(source: Path, tmp_path: Path) -> None:
    align_folder(source, tmp_path / "out", detector=FixedFaces)
    before = files(tmp_path / "out")
    with pytest.raises(
        InputError, match="holds faces with size 112, crop fer2013, faces best, not size 96, crop fer2013"
    ):
        align_folder(source, tmp_path / "out", size=96, detector=FixedFaces)
    assert files(tmp_path / "out") == before


HOLD = """
import sys, time
from pathlib import Path
from qcs.faces.align_log import AlignLog
with AlignLog(Path(sys.argv[1]), {"size": 112, "crop": "fer2013", "faces": "best"}) as log:
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no lock")
def test_a_second_run_names_the_first_and_changes_nothing_until_that_is_gone(source: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "out"], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with (tmp_path / "out" / "align.jsonl").open("a") as file:
            file.write('{"path": "deep/b.j')  # as far as the first run has come with its line
        before = files(tmp_path / "out")
        message = rf"out is in use by process {first.pid} on .+ since 20.+; wait until it ends or stop it, then run"
        with pytest.raises(InputError, match=message):
            align_folder(source, tmp_path / "out", detector=FixedFaces)
        assert files(tmp_path / "out") == before
        first.kill()  # which leaves no time to tidy up
    assert align_folder(source, tmp_path / "out", detector=FixedFaces).aligned == 3


@pytest.mark.parametrize("content", ["no log\n", "[1]\n", "null\n", '{"size": 112}\n3\n', "[" * 99999 + "\n"])
def test_a_file_that_is_no_log_is_refused(source: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "align.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"is not a log of aligned faces: .*; choose another folder"):
        align_folder(source, tmp_path / "out", detector=FixedFaces)
    assert (tmp_path / "out" / "align.jsonl").read_text() == content


def test_what_cannot_be_aligned_is_refused_and_nothing_written(source: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "align.jsonl").write_text("no log\n")
    before = files(tmp_path)
    wrong = {
        "no folder of pictures at .*gone": (tmp_path / "gone", tmp_path / "out", {}),
        "no images in .*empty; expected files": (tmp_path / "empty", tmp_path / "out", {}),
        "lies in .*, whose pictures are to be aligned": (source, source / "faces", {}),
        "in lies in ": (source, source, {}),
        "is not a log of aligned faces": (source, tmp_path / "strange", {}),
        "crop must be one of fer2013, arcface, loose; got 'tight'": (source, tmp_path / "out", {"crop": "tight"}),
        "faces must be one of best, all; got 'first'": (source, tmp_path / "out", {"faces": "first"}),
        "workers is 0; expected at least 1": (source, tmp_path / "out", {"workers": 0}),
        "size is -1; expected": (source, tmp_path / "out", {"size": -1}),
    }
    for message, (pictures, target, options) in wrong.items():
        with pytest.raises(InputError, match=message):
            align_folder(pictures, target, detector=FixedFaces, **options)
    assert files(tmp_path) == before


def test_a_face_that_cannot_be_written_is_named(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "deep" / "b.jpg").mkdir(parents=True)
    with pytest.raises(InputError, match="out holds other files; choose an empty folder"):
        align_folder(source, tmp_path / "out", detector=FixedFaces)
    (tmp_path / "out" / "align.jsonl").touch()  # as if an earlier run had begun it
    with pytest.raises(OSError, match=r"cannot write .*b\.jpg: "):
        align_folder(source, tmp_path / "out", detector=FixedFaces)
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_images_of_every_kind_are_written_in_their_kind(tmp_path: Path) -> None:
    (file,) = toy.photos(tmp_path / "in", 1)
    with Image.open(file) as picture:
        for suffix in ("bmp", "gif", "pgm", "png", "ppm", "tif", "tiff", "webp", "JPEG"):
            picture.resize((150, 100)).save(tmp_path / "in" / f"x.{suffix}", "PPM" if suffix == "pgm" else None)
    done = align_folder(tmp_path / "in", tmp_path / "out", detector=FixedFaces)
    assert (done.aligned, done.without, done.unreadable) == (9, 1, 0)
    for path in (tmp_path / "out").glob("x.*"):
        assert Image.open(path).size == (112, 112)


UNGUARDED = """
import sys
from qcs.faces import align_folder
align_folder(sys.argv[1], sys.argv[2], workers=2)
"""


@needs_extra
@pytest.mark.slow
@pytest.mark.parametrize("way", ["file", "pipe"])
def test_workers_of_a_script_without_a_main_guard_say_what_is_missing(source: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED)
    script = str(tmp_path / "script.py") if way == "file" else "-"
    done = subprocess.run(
        [sys.executable, script, source, tmp_path / "out"],
        input=UNGUARDED if way == "pipe" else None,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    if way == "pipe" and done.returncode == 0:
        return  # this version of Python starts workers without the script
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("qcs.errors.InputError: no worker process could start; ")
    assert 'write `if __name__ == "__main__":` before the call of align_folder' in last
