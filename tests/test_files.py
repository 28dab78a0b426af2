"""Files and folders appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcs.files import replacing


def test_what_is_written_takes_the_place_of_what_was_there_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("old")
    with replacing(path) as unfinished:
        assert unfinished.parent == tmp_path and not unfinished.exists()
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_with_all_that_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with pytest.raises(ValueError, match="half"), replacing(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "a").touch()
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []
    path.mkdir()
    with replacing(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "a").touch()
    assert list(tmp_path.rglob("*")) == [path, path / "a"]


def test_a_name_that_cannot_be_taken_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"), replacing(tmp_path / "folder") as unfinished:
        unfinished.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
