from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from trees import VOTES, archive, grow, picture, text

from qcs import cli
from qcs.data.check import check
from qcs.errors import InputError


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[object, str, str]:
    """Status, output and errors of `qcs data check`."""
    monkeypatch.setattr(sys, "argv", ["qcs", "data", "check", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0, *capsys.readouterr()


def test_sizes_are_those_of_the_images(tmp_path: Path) -> None:
    found = check(grow(tmp_path, "folder", {"happy/wide.png": picture(99, size=(30, 10))}))
    assert found.sizes == {"all": Counter({(8, 6): 3, (30, 10): 1})}
    assert (found.format, found.remarks, found.unreadable) == ("folder", [], [])


def test_copies_are_found_by_content_across_splits_and_labels(tmp_path: Path) -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    images[[3, 4]] = images[[0, 1]]
    stored = archive(images=images, labels=["sad", "sad", "happy", "sad", "happy"], split=[0, 0, 0, 2, 0])
    pictures, leaked = check(grow(tmp_path, "npz labels", {"faces.npz": stored})).remarks
    assert pictures.startswith("2 images are copies of 2 others, first: 3 of 0; of these 2 different pictures, 1 occur")
    assert pictures.endswith("1 under several labels")
    assert leaked == "1 images of test have a copy in train"


def test_copies_across_splits_are_counted_as_images(tmp_path: Path) -> None:
    images = np.array([0, 0, 1, 1, 1, 0, 2, 3], dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    stored = archive(images=images, labels=["sad", "happy"] * 4, split=[0, 0, 0, 2, 2, 2, 2, 0])
    remarks = check(grow(tmp_path, "npz labels", {"faces.npz": stored})).remarks
    assert "2 occur in several splits" in remarks[0]
    assert remarks[1:] == ["3 images of test have a copy in train"]


def test_copied_files_are_found_under_any_name(tmp_path: Path) -> None:
    found = check(grow(tmp_path, "folder", {"happy/other.png": picture(10)}))
    assert found.remarks[0].startswith("1 images are copies of 1 others, first: sad/b.png of happy/other.png")


def test_two_faces_of_one_picture_are_no_copies(tmp_path: Path) -> None:
    assert not [remark for remark in check(grow(tmp_path, "expw")).remarks if "copies" in remark]


def test_images_left_out_are_counted_by_reason(tmp_path: Path) -> None:
    remarks = check(grow(tmp_path / "a", "affectnet8 annotations"), format="affectnet7").remarks
    assert remarks[:2] == ["1 images left out: contempt", "1 images left out: uncertain"]
    remarks = check(grow(tmp_path / "b", "ferplus images")).remarks
    assert remarks[:2] == ["1 images left out: no image name", "1 images left out: no label by the rule majority"]


def test_archives_of_votes_are_compared_with_the_published_counts_of_the_rule(tmp_path: Path) -> None:
    votes = [votes for _, _, votes in VOTES]
    path = grow(tmp_path, "npz votes", {"faces.npz": archive(images=np.zeros((5, 4, 4), np.uint8), votes=votes)})
    assert not [remark for remark in check(path).remarks if "published" in remark]  # it has no splits
    found = check(grow(tmp_path, "npz votes"), votes="argmax")
    assert "ferplus train has 2 images, published 28,389" in found.remarks


def test_all_real_images_are_read_and_counted(shared_data: Path) -> None:
    found = check(shared_data / "ferplus.npz")
    assert found.sizes["train"] == Counter({(48, 48): 25057})
    copies = [remark for remark in found.remarks if "have a copy in" in remark]
    assert copies == [
        "259 images of test have a copy in train",
        "251 images of validation have a copy in train",
        "41 images of test have a copy in validation",
    ]
    assert [remark for remark in found.remarks if "near-duplicates of" in remark]
    assert found.remarks[-2:] == [
        "ferplus train has 25,057 images, published 25,060: neutral 8,739 (8,740), sad 3,013 (3,014), "
        "anger 2,099 (2,100)",
        "ferplus test has 3,152 images, published 3,153: neutral 1,089 (1,090)",
    ]


def test_the_command_prints_counts_beside_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = command(monkeypatch, capsys, grow(tmp_path, "raf_db"))
    assert (status, err) == (0, "")
    assert re.search(r"read as raf_db\n class +train +published +test +published", out)
    assert re.search(r"sad +1 +1,982 +0 +478 ", out)
    assert re.search(r"all +2 +12,271 +1 +3,068 ", out)
    assert "train: 2 of 8x6\n" in out
    assert "- raf_db test has 1 images, published 3,068" in out


def test_truncated_images_and_boxes_beyond_the_image_are_found(tmp_path: Path) -> None:
    broken = {"image/origin/c.jpg": picture(3, ".jpg", (64, 64))[:-40]}
    found = check(
        grow(tmp_path, "expw", {**broken, "label/label.lst": text("a b.jpg 0 9 9 99 99 1 2", "c.jpg 0 1 1 5 5 1 3")})
    )
    assert [str(error).partition(" ")[0] for error in found.unreadable] == ["the", "cannot"]
    assert found.sizes["all"].total() == 0


def test_the_command_names_every_unreadable_image_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = grow(tmp_path, "folder", {"sad/b.png": b"", "sad/c.png": b"no image"})
    status, out, err = command(monkeypatch, capsys, path)
    assert status == 1
    assert re.fullmatch(
        r"(error: cannot read image .*sad/[bc]\.png: .*; replace the file or leave it out of the data\n){2}", err
    )
    assert "all: 1 of 8x6\n" in out


def test_the_command_prints_the_expected_tree_of_a_wrong_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = command(monkeypatch, capsys, tmp_path, "--format", "ckplus")
    assert status == 1
    assert out.startswith("expected:\n  FOLDER/Emotion/S005/001/S005_001_00000011_emotion.txt\n  FOLDER/cohn-kanade")
    assert re.fullmatch(r"error: .* holds no folders; expected FOLDER/Emotion/.*\n", err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "raf"), "error: format must be one of raf_db, ferplus, fer2013, .*; got 'raf'\n"),
        (("--votes", "most"), "error: votes must be one of majority, probability, .*; got 'most'\n"),
        (("--votes", "argmax"), "error: .*, read as raf_db, holds labels, not votes; omit the vote rule argmax\n"),
    ],
)
def test_the_command_lists_what_there_is_to_choose_from(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, str],
    message: str,
) -> None:
    status, _, err = command(monkeypatch, capsys, grow(tmp_path, "raf_db"), *options)
    assert status == 1
    assert re.fullmatch(message, err)


def test_a_list_under_another_root_is_checked(tmp_path: Path) -> None:
    path = grow(tmp_path / "lists", "list", {"b.png": None})
    grow(tmp_path / "images", "list")
    with pytest.raises(InputError, match="1 of 2 images missing"):
        check(path)
    assert check(path, tmp_path / "images").sizes["all"].total() == 2
    assert text("b.png sad") in path.read_bytes()


HOSTILE = {
    "brackets": ("[posed]", "[posed]"),
    "a closing tag": ("[/x]", "[/x]"),
    "an escape sequence": ("sad\x1b[2Jx", r"sad\x1b[2jx"),
    "a line break": ("sad\nhappy", r"sad\nhappy"),
    "text from right to left": ("sad\u202ex", r"sad\u202ex"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_names_of_classes_are_shown_as_they_are_and_obeyed_by_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    name, shown = HOSTILE[kind]
    images = np.random.default_rng(0).integers(0, 255, (4, 9, 9), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", images=images, labels=np.array([name, "neutral"] * 2))
    status, out, err = command(monkeypatch, capsys, tmp_path / "faces.npz")
    assert (status, err) == (0, "")
    assert any(line.split() == [shown.lower(), "2"] for line in out.splitlines())
    assert name.lower() in out or name not in ("[posed]", "[/x]")
    assert not {"\x1b", "\u202e"} & {*out}


@pytest.mark.parametrize("name", ["[red]face.png", "face\x1b[2J.png", "face\nerror: none.png"])
def test_names_of_files_are_shown_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "sad").mkdir()
    (tmp_path / "sad" / name).write_text("no image")
    status, out, err = command(monkeypatch, capsys, tmp_path)
    assert status == 1
    assert err.count("\n") == 1
    assert err.startswith("error: cannot read image")
    assert "\x1b" not in out + err
    if name.startswith("["):
        assert name in err
