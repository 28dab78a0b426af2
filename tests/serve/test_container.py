"""The container file, as far as it can be checked without building it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import typer
from floors import tomllib

from qcs.serve.guard import refusal
from qcs.serve.service import HEALTH

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    """Name and argument of each instruction; continued lines are joined, comments left out."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_every_instruction_is_one_and_it_ends_as_an_unprivileged_user(instructions: list[tuple[str, str]]) -> None:
    names = [name for name, _ in instructions]
    assert set(names) <= KNOWN and names[0] == "FROM" and names.count("CMD") == 1
    users = [rest for name, rest in instructions if name == "USER"]
    assert users == ["qcs"] and names.index("USER") < names.index("CMD")
    assert any("useradd" in rest and rest.endswith(" qcs") for name, rest in instructions if name == "RUN")


def test_it_copies_what_the_build_needs_and_installs_an_extra_that_exists(instructions: list[tuple[str, str]]) -> None:
    copied = {source for name, rest in instructions if name == "COPY" for source in rest.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert {"pyproject.toml", "setup.py", "README.md", *project["project"]["license-files"], "qcs"} <= copied
    (extra,) = re.findall(r"pip install '\.\[(\w+)\]'", " ".join(rest for _, rest in instructions))
    assert extra in project["project"]["optional-dependencies"]
    (base,) = re.findall(r"^python:(\d+)\.(\d+)-slim$", instructions[0][1])
    assert tuple(map(int, base)) >= tuple(map(int, project["project"]["requires-python"].removeprefix(">=").split(".")))


def test_its_command_is_one_of_this_command_line(instructions: list[tuple[str, str]]) -> None:
    from qcs import cli

    words = json.loads(dict(instructions)["CMD"])
    assert words[:2] == ["qcs", "serve"]
    command = typer.main.get_command(cli.app).commands["serve"]  # type: ignore[attr-defined]
    parsed = command.make_context("serve", words[2:])
    assert parsed.params["host"] == "0.0.0.0"
    assert str(parsed.params["port"]) == dict(instructions)["EXPOSE"]


def test_the_health_check_asks_an_address_that_the_guard_accepts(instructions: list[tuple[str, str]]) -> None:
    check = dict(instructions)["HEALTHCHECK"]
    program = json.loads(check[check.index("[") :])[2]
    ast.parse(program)
    (host, port, path) = re.findall(r"http://([^:/]+):(\d+)(/\w+)", program)[0]
    assert (port, path) == (dict(instructions)["EXPOSE"], HEALTH)
    for name in (host, "localhost", "192.168.1.2"):
        assert refusal({"method": "GET", "headers": [(b"host", f"{name}:{port}".encode())]}, "0.0.0.0") is None
    assert refusal({"method": "GET", "headers": [(b"host", b"rebound.example")]}, "0.0.0.0") == 421


def test_it_runs_without_a_network(instructions: list[tuple[str, str]]) -> None:
    settings = " ".join(rest for name, rest in instructions if name == "ENV")
    assert "HF_HUB_OFFLINE=1" in settings and "ORT_DISABLE_TELEMETRY=1" in settings
