"""A network of another method on the command line: train, evaluate, predict, export and report as for any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import toy
from commands import Run, fails

QUICK = ("--model-arg", "img_size=32", "--epochs", 1, "--fraction", 1, "--batch-size", 12, "--output", "run")


def test_a_peer_is_trained_and_used_like_any_network(run: Run, tmp_path: Path) -> None:
    images, labels = toy.squares(36)
    named = np.array(toy.CLASSES)[labels]
    np.savez("squares.npz", images=images, labels=named, split=np.repeat(["train", "validation", "test"], 12))
    done = run("train", "--data", "squares.npz", "--model", "ada_df_resnet18", "--objective-arg", "beta=2", *QUICK)
    assert done.status == 0 and "epoch   1/1  training " in done.out
    evaluated = run("evaluate", "run", "--data", "squares.npz")
    assert evaluated.status == 0 and "accuracy" in evaluated.out
    (photo,) = toy.photos(tmp_path / "photos", 1)
    assert run("predict", photo, "--weights", "run", "--no-detect", "--tta").status == 0
    assert run("report", "run", "--output", "report.html").status == 0
    assert "ada_df_resnet18" in (tmp_path / "report.html").read_text()
    fails(
        run("visualize", "attention", "run", "--data", "squares.npz"),
        "ada_df_resnet18 is a network without a cross part .*",
    )
    fails(run("visualize", "embedding", "run", "--data", "squares.npz"), "AdaDF has no tokens to draw: .*")
