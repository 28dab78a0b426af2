"""A network of another method on the command line: train, evaluate, predict, export and report as for any other."""

from __future__ import annotations

from pathlib import Path

import toy
from commands import Run, fails

QUICK = ("--model-arg", "img_size=16", "--epochs", 1, "--batch-size", 12, "--output", "run")


def test_a_peer_is_trained_and_used_like_any_network(run: Run, tmp_path: Path) -> None:
    toy.archive(tmp_path / "squares.npz")
    done = run("train", "--data", "squares.npz", "--model", "ddamfn", "--objective-arg", "attention_weight=0.2", *QUICK)
    assert done.status == 0 and "epoch   1/1  training " in done.out
    evaluated = run("evaluate", "run", "--data", "squares.npz")
    assert evaluated.status == 0 and "accuracy" in evaluated.out
    (photo,) = toy.photos(tmp_path / "photos", 1)
    assert run("predict", photo, "--weights", "run", "--no-detect", "--tta").status == 0
    assert run("report", "run", "--output", "report.html").status == 0
    assert "ddamfn" in (tmp_path / "report.html").read_text()
    fails(run("visualize", "attention", "run", "--data", "squares.npz"), "ddamfn is a network without a cross part .*")
    fails(run("visualize", "embedding", "run", "--data", "squares.npz"), "DDAMFN has no tokens to draw: .*")
