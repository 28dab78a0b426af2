"""The README's Python examples run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
EXAMPLES = re.findall(r"(<!-- needs a file -->\n)?```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
RUNNABLE = [code for needs_file, code in EXAMPLES if not needs_file]


@pytest.mark.parametrize("code", RUNNABLE, ids=lambda code: code.strip().splitlines()[-1][:30])
def test_example_runs(code: str) -> None:
    exec(compile(code, str(README), "exec"), {})


def test_most_examples_are_run() -> None:
    assert len(RUNNABLE) >= 3
