"""Training curves, and saving any picture."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from qcs.errors import InputError
from qcs.visualize import loss_curves, save

BASE = [
    {"epoch": 1, "train_loss": 1.9, "train_base_loss": 1.9, "train_base_accuracy": 0.3, "validation_accuracy": 0.35},
    {"epoch": 2, "train_loss": 1.2, "train_base_loss": 1.2, "train_base_accuracy": 0.6, "validation_accuracy": 0.5},
]
CROSS = [entry | {"train_cross_loss": 1.1, "train_cross_accuracy": 0.7, "validation_loss": 1.3} for entry in BASE]


def curves(panel: Axes) -> list[Line2D]:
    """The lines with points; the keys of the legend have none."""
    return [line for line in panel.lines if points(line)]


def points(line: Line2D) -> list[tuple[float, float]]:
    return list(zip(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist(), strict=True))


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_losses_are_drawn_left_and_accuracies_in_percent_right() -> None:
    losses, accuracies = loss_curves({"base": BASE}).axes
    assert [points(line) for line in curves(losses)] == [[(1, 1.9), (2, 1.2)]]
    assert [points(line) for line in curves(accuracies)] == [[(1, 30), (2, 60)], [(1, 35), (2, 50)]]
    assert (losses.get_ylabel(), accuracies.get_ylabel()) == ("cross entropy", "% of images")


def test_line_style_tells_the_quantity_and_color_the_run() -> None:
    losses, accuracies = loss_curves({"base": BASE, "QCS": CROSS}).axes
    assert [line.get_linestyle() for line in curves(losses)] == ["-", "-", "--", ":"]
    assert [line.get_linestyle() for line in curves(accuracies)] == ["-", ":", "-", "--", ":"]
    first, second = curves(losses)[:2]
    assert {line.get_color() for line in curves(accuracies)[:2]} == {first.get_color()}
    assert {line.get_color() for line in curves(accuracies)[2:]} == {second.get_color()}
    assert first.get_color() != second.get_color()


def test_one_legend_names_the_runs_and_only_the_quantities_drawn() -> None:
    assert legend(loss_curves({"base": BASE})) == ["base", "training, base", "validation"]
    both = loss_curves({"base": BASE, "QCS": CROSS})
    assert legend(both) == ["base", "QCS", "training, base", "training, cross", "validation"]
    assert len(both.legends) == 1


def test_a_single_epoch_is_visible_as_markers_at_a_whole_epoch() -> None:
    figure = loss_curves({"QCS": CROSS[:1]})
    figure.draw_without_rendering()
    for panel in figure.axes:
        assert {line.get_marker() for line in curves(panel)} <= {"o", "s", "^"}
        low, high = panel.get_xlim()
        assert [tick for tick in panel.get_xticks() if low <= tick <= high] == [1]


def test_a_long_run_keeps_about_ten_markers_per_line() -> None:
    history = [{"epoch": epoch, "train_base_loss": 1 / epoch} for epoch in range(1, 201)]
    (line,) = curves(loss_curves({"base": history}).axes[0])
    assert len(points(line)) == 200
    assert line.get_markevery() == 20


def test_epochs_without_validation_leave_no_point() -> None:
    history = [BASE[0], {"epoch": 2, "train_base_loss": 1.0}, {"epoch": 3, "validation_accuracy": 0.6}]
    losses, accuracies = loss_curves({"base": history}).axes
    assert points(curves(losses)[0]) == [(1, 1.9), (2, 1.0)]
    assert points(curves(accuracies)[-1]) == [(1, 35), (3, 60)]


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ({}, "cannot draw 0 runs"),
        ({str(run): BASE for run in range(8)}, "cannot draw 8 runs: give 1 to 7"),
        ({"base": []}, "history of run 'base' is empty"),
        ({"base": [{"train_base_loss": 1.0}]}, "'base' has no 'epoch'"),
        ({"base": [{"epoch": 1, "seconds": 3.0}]}, "'base' holds nothing to draw"),
    ],
)
def test_what_is_no_history_is_refused(histories: dict[str, list[dict[str, float]]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        loss_curves(histories)


def test_save_makes_folders_and_writes_the_format_of_the_suffix(tmp_path: Path) -> None:
    figure = loss_curves({"base": BASE})
    written = save(figure, tmp_path / "new" / "folder" / "curves.png")
    assert written == tmp_path / "new" / "folder" / "curves.png"
    with Image.open(written) as image:
        assert image.format == "PNG"
        assert image.width == pytest.approx(9 * 150, rel=0.05)
    assert save(figure, str(tmp_path / "curves.PDF")).read_bytes().startswith(b"%PDF")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["curves.PDF", "curves.png", "folder", "new"]


def test_a_save_that_fails_keeps_the_old_picture_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_half_way(self: Figure, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half a pic")
        raise OSError("disk full")

    target = tmp_path / "curves.png"
    target.write_bytes(b"the old picture")
    monkeypatch.setattr(Figure, "savefig", fail_half_way)
    with pytest.raises(OSError, match="disk full"):
        save(loss_curves({"base": BASE}), target)
    assert target.read_bytes() == b"the old picture"
    assert list(tmp_path.iterdir()) == [target]


def test_numbers_lie_beside_the_picture(tmp_path: Path) -> None:
    path = save(
        loss_curves({"base": BASE}), tmp_path / "a.b.png", arrays={"loss": [1.5, 2.5]}, facts={"runs": ["base"]}
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.b.json", "a.b.npz", "a.b.png"]
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
        assert {name: arrays[name].tolist() for name in arrays} == {"loss": [1.5, 2.5]}
    assert json.loads(path.with_suffix(".json").read_text()) == {"runs": ["base"]}


def test_numbers_that_cannot_be_written_leave_no_picture_either(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save(loss_curves({"base": BASE}), tmp_path / "curves.png", arrays={"loss": [1.5]}, facts={"runs": {1, 2}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["curves", "curves.docx"])
def test_save_refuses_a_format_matplotlib_cannot_write(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"'{name}': end its name in one of .*\.png"):
        save(loss_curves({"base": BASE}), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_save_passes_on_that_a_folder_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        save(loss_curves({"base": BASE}), tmp_path / "file" / "curves.png")


def test_without_matplotlib_drawing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"drawing needs matplotlib; run: pip install 'qcs-fer\[viz\]'"):
        loss_curves({"base": BASE})


def test_importing_needs_no_matplotlib_and_drawing_no_display_state() -> None:
    code = (
        "import sys, io, qcs.visualize as v\n"
        "assert 'matplotlib' not in sys.modules\n"
        "v.confusion_matrices({'x': [[1]]}, ['a']).savefig(io.BytesIO())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[2])


def test_one_measure_can_be_drawn_alone() -> None:
    (panel,) = loss_curves({"QCS": CROSS}, ("accuracy",)).axes
    assert panel.get_title() == "accuracy"
    assert [points(line) for line in curves(panel)] == [[(1, 30), (2, 60)], [(1, 70), (2, 70)], [(1, 35), (2, 50)]]
    with pytest.raises(InputError, match="cannot draw speed: choose among loss, accuracy"):
        loss_curves({"QCS": CROSS}, ("speed",))
