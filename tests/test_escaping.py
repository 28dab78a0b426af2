"""Names of classes are data in every medium: terminal, figures, HTML, Markdown; messages have a maximum length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qcs.cli import shared
from qcs.errors import InputError
from qcs.escaping import LONGEST_MESSAGE, drawable
from qcs.publish.card import _name, _table
from qcs.serve.rendering import render
from qcs.visualize import confusion_matrices, embedding, loss_curves, save

NASTY = [
    "$_$",
    "a\nb",
    "\x1b[2J",
    "caf\udce9",
    "[red]x[/red]",
    "a|b",
    "<b>&amp;",
    "=1+1",
    "`x`",
    "\u202eabc",
    "$\\frac$",
    "#",
]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_draw_every_name(tmp_path: Path, suffix: str) -> None:
    counts = [[int(row == column) for column in range(len(NASTY))] for row in range(len(NASTY))]
    history = [{"epoch": 1, "train_base_loss": 1.0, "validation_accuracy": 0.5}]
    points = [(float(number), 0.0) for number in range(len(NASTY))]
    figures = [
        confusion_matrices({NASTY[0]: counts, NASTY[3]: counts}, NASTY),
        loss_curves(dict.fromkeys(NASTY[:5], history)),
        embedding(points, {NASTY[0]: NASTY}),
    ]
    for number, figure in enumerate(figures):
        assert save(figure, tmp_path / f"{number}.{suffix}").stat().st_size > 0


def test_a_figure_shows_dollar_signs_as_such(tmp_path: Path) -> None:
    from matplotlib import cbook

    assert not any(cbook.is_math_text(drawable(name)) for name in NASTY)


def test_a_terminal_gets_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    for name in NASTY:
        shared.say(f"class {name}")
        out = capsys.readouterr().out
        assert out.count("\n") == 1 and out.rstrip("\n").isprintable()
    shared.say("class [red]x[/red]")
    assert capsys.readouterr().out == "class [red]x[/red]\n"


def test_a_page_can_be_written_and_holds_no_markup() -> None:
    for name in NASTY:
        html = render("problem.html", problem=name)
        assert html.encode("utf-8") and "<b>" not in html


def test_a_table_in_markdown_keeps_its_rows_and_columns() -> None:
    rows = _table(("class", "images"), [(_name(name), "1") for name in NASTY]).splitlines()
    assert len(rows) == 2 + len(NASTY)
    for row in rows:
        assert row.replace("\\|", "").count("|") == 3
        assert row.encode("utf-8")
    assert _name("<b>") == "\\<b\\>"


def test_a_message_has_a_maximum_length() -> None:
    message = str(InputError("cannot read " + "x" * 10**6 + ": not a number"))
    assert len(message) <= LONGEST_MESSAGE
    assert message.startswith("cannot read xxx") and message.endswith("xxx: not a number")
    assert "characters left out" in message
    short: Any = InputError("short")
    assert str(short) == "short" and short.args == ("short",)
