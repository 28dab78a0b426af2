"""`qcs --version` names the distribution that pip installs, and loads nothing heavy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import qcs
from qcs.imports import DISTRIBUTION

ROOT = Path(__file__).resolve().parents[2]


def test_version_is_printed_without_a_command_and_without_torch() -> None:
    script = "import sys; from qcs.cli import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [f"{DISTRIBUTION} {qcs.__version__}", "False", ""]


def test_the_name_in_messages_is_the_name_that_is_published() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^name = "(.*)"$', text, re.MULTILINE)[0] == DISTRIBUTION
    own = re.findall(r'"(qcs[\w-]*)\[', text)
    assert own and set(own) == {DISTRIBUTION}
