"""The Python examples of the README and of the documentation run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    (f"{path.name}: {code.strip().splitlines()[-1][:30]}", code, needs_file)
    for path in DOCUMENTS
    for needs_file, code in re.findall(r"(<!-- needs a file -->\n)?```python\n(.*?)```", path.read_text(), re.DOTALL)
]
RUNNABLE = {name: code for name, code, needs_file in EXAMPLES if not needs_file}


@pytest.mark.parametrize("name", RUNNABLE)
def test_example_runs(name: str) -> None:
    exec(compile(RUNNABLE[name], name, "exec"), {})


def test_most_examples_are_run() -> None:
    assert len(RUNNABLE) >= 4
