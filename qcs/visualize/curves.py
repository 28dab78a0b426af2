"""Draw loss and accuracy over the epochs of training runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qcs.errors import InputError
from qcs.escaping import drawable
from qcs.visualize.figure import LABEL, PALETTE, SMALL, TITLE, blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = 10  # per line, approximately: more would hide the line


class _Quantity(NamedTuple):
    prefix: str  # of the history's keys: prefix_loss and prefix_accuracy
    label: str
    line: str
    marker: str


class _Measure(NamedTuple):
    unit: str
    scale: float  # from the history to the unit


MEASURES = {"loss": _Measure("cross entropy", 1), "accuracy": _Measure("% of images", 100)}
QUANTITIES = (
    _Quantity("train", "training", "-", "o"),
    _Quantity("train_base", "training, base", "-", "o"),
    _Quantity("train_cross", "training, cross", "--", "s"),
    _Quantity("validation", "validation", ":", "^"),
)


def loss_curves(
    histories: Mapping[str, Sequence[Mapping[str, float]]], measures: Sequence[str] = tuple(MEASURES)
) -> Figure:
    """Draw the losses (left) and accuracies (right) of training runs, one color per run.

    Solid lines are the base classifier on the training set, dashed lines the cross classifier on the training set,
    dotted lines the base classifier on the validation set. Missing values are not drawn, such as the cross loss of a
    base network.

    Args:
        histories: Epochs by run name, each a mapping with `epoch` (from 1) and any of `train_base_loss`,
            `train_cross_loss`, `validation_loss`, `train_base_accuracy`, `train_cross_accuracy` and
            `validation_accuracy` (0 to 1); of a network with its own objective, `train_loss` and `train_accuracy`.
            Other keys are ignored.
        measures: `loss`, `accuracy` or both.

    Returns:
        The figure: a panel per measure and one legend.

    Raises:
        InputError: If there is no run, more runs than colors, a run with nothing to draw, or an unknown measure.

    Example:
        >>> from qcs.visualize import loss_curves
        >>> history = [{"epoch": 1, "train_base_loss": 1.9, "validation_accuracy": 0.31}]
        >>> [panel.get_title() for panel in loss_curves({"DCS": history}).axes]
        ['loss', 'accuracy']
    """
    if not 1 <= len(histories) <= len(PALETTE):
        raise InputError(f"cannot draw {len(histories)} runs: give 1 to {len(PALETTE)}, as {{name: history}}")
    for name, history in histories.items():
        _check(name, history)
    if not measures or not set(measures) <= MEASURES.keys():
        raise InputError(f"cannot draw {', '.join(measures) or 'nothing'}: choose among {', '.join(MEASURES)}")
    figure = blank(4.5 * len(measures), 3.6) if len(measures) > 1 else blank(3.6, 3.4)
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    for panel, measure in zip(panels, measures, strict=True):
        for history, color in zip(histories.values(), PALETTE, strict=False):
            _draw(panel, history, measure, MEASURES[measure].scale, color)
        _finish(panel, measure, MEASURES[measure].unit)
    _legend(figure, panels[0], histories, columns=5 if len(measures) > 1 else 2)
    return figure


def _check(name: str, history: Sequence[Mapping[str, float]]) -> None:
    if not history:
        raise InputError(f"the history of run {name!r} is empty: train at least one epoch")
    if not all("epoch" in entry for entry in history):
        raise InputError(f"an entry in the history of run {name!r} has no 'epoch': number the epochs from 1")
    if not any(_holds(history, quantity) for quantity in QUANTITIES):
        keys = ", ".join(f"{quantity.prefix}_loss or _accuracy" for quantity in QUANTITIES)
        raise InputError(f"the history of run {name!r} holds nothing to draw: expected some of {keys}")


def _holds(history: Sequence[Mapping[str, float]], quantity: _Quantity) -> bool:
    keys = {f"{quantity.prefix}_loss", f"{quantity.prefix}_accuracy"}
    if quantity.prefix == "train":  # with a base classifier its loss is the sum of those drawn
        keys = {"train_accuracy"}
    return any(keys & entry.keys() for entry in history)


def _draw(panel: Axes, history: Sequence[Mapping[str, float]], measure: str, scale: float, color: str) -> None:
    for quantity in (each for each in QUANTITIES if _holds(history, each)):
        key = f"{quantity.prefix}_{measure}"
        points = [(entry["epoch"], scale * entry[key]) for entry in history if key in entry]
        if points:
            epochs, values = zip(*points, strict=True)
            line = panel.plot(epochs, values, quantity.line, marker=quantity.marker, markersize=4, color=color)[0]
            line.set_markevery(math.ceil(len(points) / MARKERS))


def _finish(panel: Axes, title: str, unit: str) -> None:
    panel.set_title(title, fontsize=TITLE)
    panel.set_xlabel("epoch", fontsize=LABEL)
    panel.set_ylabel(unit, fontsize=LABEL)
    panel.locator_params(axis="x", integer=True, min_n_ticks=1)
    panel.tick_params(labelsize=SMALL)
    panel.grid(color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, panel: Axes, histories: Mapping[str, Sequence[Mapping[str, float]]], columns: int) -> None:
    """Add a legend of colors (runs) and line styles (quantities), from lines without points."""
    for name, color in zip(histories, PALETTE, strict=False):
        panel.plot([], [], color=color, linewidth=4, label=drawable(name))
    for quantity in QUANTITIES:
        if any(_holds(history, quantity) for history in histories.values()):
            panel.plot([], [], quantity.line, marker=quantity.marker, markersize=4, color="0.3", label=quantity.label)
    figure.legend(loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False, handlelength=3)
