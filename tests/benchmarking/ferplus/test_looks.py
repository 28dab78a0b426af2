"""Every look at the test set leaves a line before it begins, whatever becomes of it."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from benchmarks.ferplus import looks
from benchmarks.ferplus.looks import LOG, look, read_looks
from benchmarks.ferplus.plan import condition
from benchmarks.ferplus.run import Experiment


def test_a_look_is_in_the_log_before_and_after_it(tmp_path: Path) -> None:
    with look(tmp_path / "results", "someone", "ab12", "test") as seen:
        (line,) = read_looks(tmp_path / "results")
        assert (line["event"], line["command"], line["weights"], line["what"]) == ("started", "someone", "ab12", "test")
        seen["accuracy"] = 0.5
    first, last = read_looks(tmp_path / "results")
    assert (last["event"], last["figures"], last["look"]) == ("finished", {"accuracy": 0.5}, first["look"])
    assert first["date"] <= last["date"]


def test_a_failed_look_says_how_it_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), look(tmp_path, "someone", None, "test") as seen:
        seen["accuracy"] = 0.5
        raise KeyboardInterrupt
    assert read_looks(tmp_path)[1]["event"] == "ended by KeyboardInterrupt"
    assert read_looks(tmp_path)[1]["figures"] == {"accuracy": 0.5}


def test_a_killed_look_leaves_its_start(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_die, args=(tmp_path,))
    process.start()
    process.join()
    assert [line["event"] for line in read_looks(tmp_path)] == ["started"]


def test_lines_are_only_ever_added(tmp_path: Path) -> None:
    for _ in range(3):
        before = (tmp_path / LOG).read_bytes() if (tmp_path / LOG).exists() else b""
        with look(tmp_path, "someone", None, "test"):
            pass
        assert (tmp_path / LOG).read_bytes().startswith(before)
    assert len(read_looks(tmp_path)) == 6


def test_a_run_is_in_the_log_from_its_start(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("benchmarks.ferplus.run.trained", interrupted)
        experiment.run_one(condition("base-fresh"), 7)
    events = [line["event"] for line in read_looks(experiment.results) if line["what"].startswith("base-fresh-seed7")]
    assert events == ["started", "ended by KeyboardInterrupt"]
    record = experiment.run_one(condition("base-fresh"), 7)
    last = read_looks(experiment.results)[-1]
    assert (last["event"], last["command"]) == ("finished", "benchmarks.ferplus run")
    assert last["figures"]["accuracy"] == record["measures"]["test"]["accuracy"]
    assert last["figures"]["weights"] == record["weights"]


def test_every_command_that_measures_test_images_keeps_the_log() -> None:
    folder = Path(looks.__file__).parent
    for name in ("run", "partners", "audit"):
        assert "with look(" in (folder / f"{name}.py").read_text(encoding="utf-8"), name
    for name in ("selection", "embed", "backbone_start"):  # these choose and write weights, and use no test image
        assert '"test"' not in (folder / f"{name}.py").read_text(encoding="utf-8"), name


def _die(folder: Path) -> None:
    with look(folder, "someone", None, "test"):
        os._exit(1)
