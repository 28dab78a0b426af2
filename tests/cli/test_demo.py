"""The demonstration, on few faces for a moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from qcs.cli import demo
from qcs.errors import InputError


@pytest.mark.slow
def test_the_demo_compares_two_networks_in_numbers_and_three_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "COUNTS", {"train": 240, "validation": 14, "test": 42})
    folder = tmp_path / "demo"
    accuracies = demo.run_demo(folder, 0.01)
    text = capsys.readouterr().out
    assert accuracies.keys() == {"base_nano", "qcs_nano"}
    assert json.loads((folder / "accuracies.json").read_text()) == accuracies
    for picture in ("attention.png", "confusion.png", "curves.png"):
        with Image.open(folder / picture) as image:
            assert min(image.size) > 300
        assert f"picture {folder / picture}\n" in text
    for model, accuracy in accuracies.items():
        assert json.loads((folder / model / "test.json").read_text())["accuracy"] == accuracy
        assert f"{model}: {accuracy:.2%} of the same 42 unseen faces" in text


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.png").touch()
    with pytest.raises(InputError, match="is not empty; choose another folder with --output, or remove it"):
        demo.run_demo(tmp_path, 0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
