"""The demonstration, on few faces for a moment."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest
from commands import Run
from PIL import Image

from qcs.cli import demo
from qcs.errors import InputError

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "ferplus" / "results"
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_compares_two_networks_at_equal_image_views_and_lists_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "COUNTS", {"train": 192, "validation": 14, "test": 42})
    folder, views = tmp_path / "demo", demo.Views()
    accuracies = demo.run_demo(folder, views)
    text = capsys.readouterr().out
    assert views.seen == {"base_small": 384, "qcs_small": 384}
    assert views.share == 1.0
    assert json.loads((folder / "demo.json").read_text()) == {"test_accuracy": accuracies, "image_views": views.seen}
    for model, accuracy in accuracies.items():
        assert json.loads((folder / model / "test.json").read_text())["accuracy"] == accuracy
        assert f"{model}: {accuracy:.1%} of 42 unseen synthetic faces, after 384 image views\n" in text
    pictures = ("marked/photograph", "similarity", "attention", "synthetic_attention", "confusion", "curves")
    last = text.splitlines()[-len(pictures) :]
    for name, line in zip(pictures, last, strict=True):
        path = folder / f"{name}.png"
        assert line.startswith(f"{path}: ")
        with Image.open(path) as image:
            assert min(image.size) > 300
    assert text.splitlines()[-len(pictures) - 1] == demo.conclusion(accuracies, views.seen)[-1]


def test_networks_of_unequal_image_views_are_never_compared() -> None:
    accuracies = {"base_small": 0.75, "qcs_small": 0.23}
    with pytest.raises(InputError, match=r"different numbers of image views \(base_small 2,880, qcs_small 480\)"):
        demo.conclusion(accuracies, {"base_small": 2880, "qcs_small": 480})


def test_the_conclusion_does_not_depend_on_which_network_is_ahead() -> None:
    views = dict.fromkeys(demo.BRANCHES, 2880)
    first = demo.conclusion({"base_small": 0.75, "qcs_small": 0.74}, views)
    second = demo.conclusion({"base_small": 0.74, "qcs_small": 0.75}, views)
    assert first[-2:] == second[-2:]
    assert "shows that both networks learn, not which is better" in first[-1]


@pytest.mark.parametrize(("condition", "name"), [("base", "base"), ("qcs", "QCS")])
def test_the_figures_of_the_experiment_are_those_of_its_committed_results(condition: str, name: str) -> None:
    files = [RESULTS / f"{condition}-seed{seed}.json" for seed in range(3)]
    percent = [100 * json.loads(file.read_text())["measures"]["test"]["accuracy"] for file in files]
    assert demo.EXPERIMENT[name] == (round(statistics.mean(percent), 2), round(statistics.stdev(percent), 2))
    assert f"| `{condition}` | 3 | {demo.EXPERIMENT[name][0]} ± {demo.EXPERIMENT[name][1]} |" in (
        ROOT / "docs" / "tables.md"
    ).read_text(encoding="utf-8")


def test_image_views_are_a_multiple_of_every_batch() -> None:
    for branches in demo.BRANCHES.values():
        assert demo.COUNTS["train"] % demo.BATCH == 0
        assert demo.BATCH % branches == 0


def test_an_interrupted_demo_ends_with_the_share_that_was_done(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path, views: demo.Views) -> None:
        views.seen["base_small"] = demo.EPOCHS * demo.COUNTS["train"] // 2
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_demo", interrupted)
    done = run("demo")
    assert (done.status, done.out) == (130, "")
    assert done.err == "error: interrupted after 25% of the image views; the networks are not compared\n"


def test_no_option_of_the_demo_is_a_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert set(re.findall(r"--[a-z]+", run("demo", "--help").out)) == {"--output", "--help"}


def test_the_figures_that_the_readme_shows_of_the_demo_are_those_of_the_committed_run() -> None:
    committed = json.loads((ROOT / "benchmarks" / "demo.json").read_text())
    assert committed["image_views"] == dict.fromkeys(demo.BRANCHES, demo.EPOCHS * demo.COUNTS["train"])
    shown = " and ".join(f"{accuracy:.1%}" for accuracy in committed["test_accuracy"].values())
    for page in (ROOT / "README.md", ROOT / "docs" / "figures.md"):
        text = page.read_text(encoding="utf-8")
        assert all(f"{accuracy:.1%}" in text for accuracy in committed["test_accuracy"].values()), (page, shown)


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old.png").touch()
    with pytest.raises(InputError, match="is not empty; choose another folder with --output, or remove it"):
        demo.run_demo(tmp_path, demo.Views())
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
