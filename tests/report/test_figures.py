"""Pictures of several networks: each row lies over the faces as its own network sees them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

import qcs
from qcs import visualize
from qcs.models import save_model
from qcs.report import figures
from qcs.report.sample_faces import SampleFaces


def test_figures_need_neither_the_extra_of_the_report_nor_matplotlib_before_they_are_drawn() -> None:
    code = "import sys, qcs.report.figures; print({'jinja2', 'markupsafe', 'scipy', 'matplotlib'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def networks(folder: Path, name: str) -> list[figures.Network]:
    """Two networks that see the whole of a face and its middle."""
    found = []
    for called, share in (("whole", 1.0), ("middle", 0.5)):
        model = qcs.create_model(name, num_classes=3)
        model.name_classes(toy.CLASSES)
        model.pretrained_cfg["crop_pct"] = share
        found.append(figures.Network(str(save_model(model, folder / f"{called}.safetensors"))))
    return found


@pytest.mark.parametrize(
    ("draw", "name", "levels"), [(figures.attention, "qcs_nano", 3), (figures.cam, "base_nano", 1)]
)
def test_maps_lie_over_what_their_own_network_sees(
    draw: Callable[..., figures.FigureWithData],
    name: str,
    levels: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(visualize, "attention_rows", lambda images, rows, **_: given.extend((images, *rows.values())))
    monkeypatch.setattr(visualize, "activation_maps", lambda model, images, targets: np.ones((len(images), 6, 6)))
    faces = SampleFaces(toy.splits("test")["test"], None, 0)
    whole, middle = networks(tmp_path, name)
    draw([whole, middle], faces)
    shown = faces.some_of_each(1)
    first, *rows = given
    np.testing.assert_array_equal(first, faces.seen(whole.model, shown))
    for number, row in enumerate(rows):
        own = whole if number < levels else middle
        np.testing.assert_array_equal(row.faces, faces.seen(own.model, shown))
    assert len(rows) == 2 * levels and not np.array_equal(rows[0].faces, rows[-1].faces)


@pytest.mark.parametrize("name", ["dcs_nano", "qcs_nano"])
def test_each_face_has_weights_that_sum_to_one_at_every_level(name: str) -> None:
    faces = toy.splits("train")["train"].subset(range(10))
    model = qcs.create_model(name, num_classes=3)
    found = figures.mean_face_attention(model, faces, [0, 3])
    assert found.shape[:2] == (3, 2)
    assert np.allclose(found.sum(2), 1, atol=1e-4)
    assert np.array_equal(found, figures.mean_face_attention(model, faces, [0, 3]))
