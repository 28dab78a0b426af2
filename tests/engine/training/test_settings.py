"""A setting is written once: what its field declares appears in help, checks, JSON, model card and report."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

import qcs
from qcs.cli.train import train_command
from qcs.engine.training import TrainConfig
from qcs.engine.training.settings import Range, compared, documented, published, setting, settings_of
from qcs.errors import InputError
from qcs.models import save_model
from qcs.publish.card import model_card
from qcs.publish.record import read_record
from qcs.report import compare
from qcs.report.gather import Run

GROUPS = ("Data", "Model", "Optimization", "Augmentation", "Distillation", "Run")


@dataclasses.dataclass(frozen=True)
class MoreConfig(TrainConfig):
    """The settings with one more of each kind.

    {settings}
    """

    mix: float = setting(0.25, group="Augmentation", help="Strength of mixing.", range=Range(at_least=0, below=1))
    order: Literal["up", "down"] = setting("up", group="Data", help="Order of the images.")
    lists: tuple[str, ...] = setting((), group="Data", help="Files.", role="weights")
    cache: str | None = setting(None, group="Run", help="Folder to keep copies in.", role="machine")


def shown(config: type[TrainConfig], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("TERMINAL_WIDTH", "250")
    app = typer.Typer(add_completion=False)
    app.command()(train_command(config))
    done = CliRunner().invoke(app, ["--help"])
    assert done.exit_code == 0
    return done.output


def panels(text: str) -> dict[str, str]:
    """The text of every group."""
    parts = re.split(r"╭─ (\w+) ─+╮", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_an_added_setting_is_an_option_in_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    text = panels(shown(MoreConfig, monkeypatch))
    line = next(line for line in text["Augmentation"].splitlines() if "--mix" in line)
    assert re.search(r"Strength of mixing\. Range: at least 0 and below 1\. +\[default: \(0\.25\)\]", line)
    line = next(line for line in text["Data"].splitlines() if "--order" in line)
    assert re.search(r"Order of the images\. Choices: up, down\. +\[default: \(up\)\]", line)


def test_an_added_setting_is_read_from_its_option(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[TrainConfig] = []
    monkeypatch.setattr("qcs.engine.training.train", lambda config, progress: configs.append(config))
    app = typer.Typer(add_completion=False)
    app.command()(train_command(MoreConfig))
    options = ["--data", "x", "--mix", "0.5", "--lists", "a", "--lists", "b"]
    assert CliRunner().invoke(app, options).exit_code == 0
    assert configs == [MoreConfig.from_recipe("scratch", data="x", mix=0.5, lists=("a", "b"))]


def test_an_added_setting_is_in_the_docstring() -> None:
    assert "lr: Learning rate at the start. (range: above 0; default: 0.001)" in str(TrainConfig.__doc__)
    added = "mix: Strength of mixing. (range: at least 0 and below 1; default: 0.25)"
    assert added in str(documented(MoreConfig).__doc__)


def test_an_added_setting_is_checked() -> None:
    with pytest.raises(InputError, match=r"mix must be at least 0 and below 1, got 1\.0"):
        MoreConfig(data="x", mix=1.0)
    with pytest.raises(InputError, match="order must be one of up, down; got 'left'"):
        MoreConfig(data="x", order="left")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="mix must be float, got 'much'"):
        MoreConfig(data="x", mix="much")  # type: ignore[arg-type]


def test_an_added_setting_survives_json() -> None:
    config = MoreConfig(data="x", mix=0.5, lists=("a", "b"))
    record = json.loads(json.dumps(config.to_dict()))
    assert (record["mix"], record["lists"]) == (0.5, ["a", "b"])
    assert MoreConfig.from_dict(record) == config


def card(folder: Path, config: TrainConfig) -> str:
    """The card of weights that were trained with these settings."""
    model: Any = qcs.create_model("base_nano")
    save_model(model, folder / "best.safetensors")
    record = {"config": config.to_dict(), "images": {"train": {"happy": 3}}}
    (folder / "config.json").write_text(json.dumps(record))
    return model_card("me/faces", model, read_record(folder), None)


def test_an_added_setting_is_on_the_card_unless_it_is_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcs.publish.record.TrainConfig", MoreConfig)
    text = card(tmp_path, MoreConfig(data="x", mix=0.375, cache="/private/cache"))
    assert "mix 0.375" in text
    assert "cache" not in text


def test_no_setting_is_lost_on_the_card_and_no_folder_is_published(tmp_path: Path) -> None:
    given: dict[str, Any] = dict(
        data="/secret/place/faces.npz",
        image_root="/secret/root",
        output="/secret/output",
        init="/secret/first/best.safetensors",
        teachers=("/secret/second", "hf-hub:me/faces"),
        lr_decay=0.9,
        model_args={"scope": "sample"},
        distillation={"kl": 1.0},
        minutes=2.0,
        batch_size=8,
        clip_grad=0.5,
        patience=3,
        resize=52,
        votes="probability",
        crop="loose",
        backbone="resnet18",
        data_format="raf_db",
    )
    text = card(tmp_path, TrainConfig(**given))
    assert "secret" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("Settings: "))
    for each in settings_of(TrainConfig):
        assert (f" {each.name} " in line) == (each.role != "machine"), each.name
    for part in ("lr_decay 0.9,", "model_args scope sample,", "init best.safetensors,", "data faces.npz,"):
        assert part in line
    assert "teachers second, hf-hub:me/faces," in line


def test_only_these_settings_are_of_the_machine() -> None:
    """A setting of the machine is neither published nor compared, so the choice is made here once more."""
    machine = {each.name for each in settings_of(TrainConfig) if each.role == "machine"}
    assert machine == {"image_root", "output", "checkpoint_minutes", "workers"}
    roles = {each.name: each.role for each in settings_of(TrainConfig) if each.role not in ("value", "machine")}
    assert roles == {"data": "data", "init": "weights", "teachers": "weights", "seed": "repetition"}


def test_every_field_is_a_setting_with_a_group_and_a_sentence_of_help() -> None:
    assert [each.name for each in settings_of(TrainConfig)] == [each.name for each in dataclasses.fields(TrainConfig)]
    for each in settings_of(TrainConfig):
        assert each.group in GROUPS
        assert re.fullmatch(r"[A-Z].*\.", each.help), each.name


def test_a_setting_without_effect_is_not_published() -> None:
    assert "teacher_share" not in published(TrainConfig, TrainConfig(data="x").to_dict())


Made = Callable[..., Run]


def made(name: str, **settings: Any) -> Run:
    return Run(name, Path(name), {"config": MoreConfig(**{"data": "x", **settings}).to_dict(), "images": {"train": {}}})


def test_an_added_setting_is_compared_unless_it_is_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "TrainConfig", MoreConfig)
    runs = [made("a"), made("b", cache="there", seed=3, workers=2), made("c", mix=0.5)]
    found = compare.configurations(runs)
    assert [[run.name for run in each.runs] for each in found] == [["a", "b"], ["c"]]
    assert compare.differing(found) == {"mix": [0.25, 0.5]}


def test_settings_of_another_version_are_compared_as_they_are() -> None:
    assert compared(TrainConfig, {"lr": 0.1, "unknown": [1], "seed": 3}) == {"lr": 0.1, "unknown": [1]}


def test_help_shows_the_groups_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    text = panels(shown(TrainConfig, monkeypatch))
    assert [name for name in text if name != "Options"] == list(GROUPS)
    assert "--lr-decay" in text["Optimization"] and "--kl" in text["Distillation"] and "--resume" in text["Run"]
