"""`qcs crossval`: from options or a file to tables; bad input ends in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import toy
from commands import Run, fails

OPTIONS = ("--set", "epochs=1", "--set", "batch_size=6", "--set", "fraction=1.0", "--set", "resize=48")


def test_one_command_runs_everything_and_the_folder_goes_on(run: Run, tmp_path: Path) -> None:
    toy.archive(tmp_path / "toy.npz")
    done = run("crossval", "--data", "toy.npz", "--model", "base_nano", "--repeats", 2, *OPTIONS, "--output", "bench")
    assert done.status == 0
    assert "1/2 base_nano on toy, honest, repeat 0: accuracy " in done.out
    assert "2 cells run (0 diverged), 0 done before, 0 left to other processes" in done.out
    assert "| base_nano | " in done.out
    for name in ("crossval.md", "crossval.tex", "crossval.json", "crossval.html", "plan.json"):
        assert (tmp_path / "bench" / name).exists()
    again = run("crossval", "--output", "bench", "--repeats", 3)
    assert again.status == 0 and "1 cells run (0 diverged), 2 done before" in again.out
    assert json.loads((tmp_path / "bench" / "crossval.json").read_text())["networks"][0]["repeats"] == 3


def test_one_bad_data_set_is_named_at_the_end_and_the_status_says_so(run: Run, tmp_path: Path) -> None:
    toy.archive(tmp_path / "toy.npz")
    done = run(
        "crossval", "--data", "toy.npz", "--data", "other=gone.npz", "--model", "base_nano", "--repeats", 1, *OPTIONS
    )
    assert done.status == 1
    assert "1 cells run" in done.out and "| base_nano | " in done.out
    assert done.err.startswith(
        "error: 1 cells could not run, first base_nano on other, honest, repeat 0: gone.npz does"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "a.npz", "--model", "base_nano", "--shard", "3"), r"--shard is 3; expected a number .*, as 3/8"),
        (("--data", "a.npz", "--model", "base_nano", "--shard", "9/8"), r"the shard is 9/8; expected from 1/8 to 8/8"),
        (("--data", "a.npz", "--model", "base_nano", "--set", "lr"), r"--set takes NAME=VALUE, got 'lr'"),
        (("--data", "a.npz"), r"a plan needs at least one data set, one network and one protocol"),
        (("--data", "a.npz", "--data", "b/a.npz", "--model", "base_nano"), r"the name a occurs twice; .*"),
        (("plan.toml",), r"cannot read the plan plan\.toml: No such file or directory"),
        (("--tables",), r"crossval holds no results; expected .*"),
    ],
)
def test_bad_input(run: Run, arguments: tuple[str, ...], message: str) -> None:
    fails(run("crossval", *arguments), message)


@pytest.mark.parametrize("arguments", [(), ("plan.toml", "--data", "a.npz")])
def test_nothing_or_too_much_to_run(run: Run, arguments: tuple[str, ...]) -> None:
    done = run("crossval", *arguments)
    assert done.status == 2 and "Traceback" not in done.err


def test_help_names_every_option_with_its_default(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = run("crossval", "--help")
    options = [line for line in done.out.splitlines() if re.search(r"--\w", line) and "--help" not in line]
    assert done.status == 0 and len(options) == 9
    assert all("[default:" in line for line in options), options
