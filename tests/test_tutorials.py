"""The tutorials as their readers follow them: files saved, commands typed, output as shown, from an empty folder."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import conversion
import pytest
from golden import recipe

from qcs import cli

PAGES = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
BLOCK = re.compile(r'(<!-- needs [^>]*-->\n)?```(\w+)(?: title="([^"]+)")?\n(.*?)```', re.DOTALL)
ENVIRONMENT = ("python3 -m venv", "source", "pip install")  # what is typed to have an environment; the test has one

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to be in, that is gone afterwards: some tutorials write large files."""
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.chdir(path)
        yield Path(path)


@pytest.fixture(scope="module")
def trained() -> Iterator[Path]:
    """The folder in which "Train on your folder" ended; other tutorials go on in it."""
    with tempfile.TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        follow("train")
        patch.undo()
        yield Path(path)


def follow(name: str, *, with_files: bool = False) -> None:
    """Save, type and compare, block by block; with `with_files` also those that need a file."""
    printed, typed = "", 0
    for needs, language, title, code in BLOCK.findall((PAGES / f"{name}.md").read_text(encoding="utf-8")):
        if needs and not with_files:
            continue
        if title:
            Path(title).write_text(code, encoding="utf-8")
        elif language == "bash":
            printed = "".join(type_in(command) for command in code.replace("\\\n", "").splitlines())
            typed += 1
        elif language == "text":
            missing = [line for line in code.splitlines() if shape(line) not in map(shape, printed.splitlines())]
            assert not missing, f"{name}.md shows {missing}, printed was:\n{printed}"
        elif language == "python":
            exec(compile(code, name, "exec"), {})
    assert typed > 0


def type_in(command: str) -> str:
    """What a command prints; it runs in this process."""
    if command.startswith(ENVIRONMENT):
        return ""
    program, *words = shlex.split(command)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if program == "python":
            run_file(words[0])
        else:
            assert program == "qcs", f"no tutorial types {program}"
            assert not cli.app(words, prog_name="qcs", standalone_mode=False), command
    return printed.getvalue()


def run_file(name: str) -> None:
    """As `python NAME` does: with the folder's other files to import, which are forgotten afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(Path.cwd()))
    try:
        runpy.run_path(name, run_name="__main__")
    finally:
        sys.path.pop(0)
        for module in set(sys.modules) - before:
            if Path(f"{module}.py").exists():
                del sys.modules[module]


def shape(line: str) -> str:
    """A line without its numbers, which differ between machines."""
    return " ".join(re.sub(r"[\d.,+-]*\d%?", "#", line).split())


def test_layer(folder: Path) -> None:
    follow("layer")
    assert (folder / "network.pt").exists()


def test_train(trained: Path) -> None:
    files = {"best.safetensors", "last.safetensors", "config.json", "metrics.json", "validation.json", "test.json"}
    assert files | {"curves.png", "confusion.png"} <= {path.name for path in (trained / "runs/first").iterdir()}


@pytest.mark.parametrize("name", ["backbone", "publish", "maps"])
def test_what_goes_on_from_a_training(name: str, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    follow(name)


def test_fine_tune(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    conversion.write_original(recipe.state_dict("qcs_raf_db"), Path("QCS_RAF-DB.pth"))  # stands for the published file
    follow("fine-tune", with_files=True)
    assert {"frozen", "tuned", "published"} <= {path.name for path in Path("runs").iterdir()}


def test_no_block_that_needs_a_file_comes_before_another() -> None:
    """The reader without the file of the authors can follow the page up to its last section."""
    text = (PAGES / "fine-tune.md").read_text(encoding="utf-8")
    blocks = [bool(needs) for needs, *_ in BLOCK.findall(text)]
    assert blocks == sorted(blocks) and not all(blocks)
    assert "QCS_RAF-DB.pth" not in text.partition("## Start from a published checkpoint")[0]


def test_every_tutorial_is_followed() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {"layer", "train", "fine-tune", "backbone", "publish", "maps"}
