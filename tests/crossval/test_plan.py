"""A plan from a file: its cells, its settings, and every mistake in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qcs.crossval import DataSource, Network, Plan
from qcs.errors import InputError

TOML = """
repeats = 2
protocols = ["honest", "published"]

[settings]
recipe = "scratch"
epochs = 3

[data.faces]
path = "faces.npz"
limit = 50

[networks.small]
model = "base_small"
settings = { lr = 0.01 }

[networks.any]
model = "base_any"
recipe = "finetune"
settings = { backbone = "resnet18" }
[networks.any.on.faces]
epochs = 5
erasing = [0.1, 0.2]
"""


PUBLISHED = Path(__file__).resolve().parents[2] / "benchmarks" / "crossval" / "published.toml"


def written(folder: Path, text: str, name: str = "plan.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_file_is_read(tmp_path: Path) -> None:
    plan = Plan.read(written(tmp_path, TOML))
    assert plan.data["faces"] == DataSource(str(tmp_path / "faces.npz"), limit=50)
    assert [cell.name for cell in plan.cells()][:5] == [
        "honest-faces-small-00",
        "honest-faces-any-00",
        "published-faces-small-00",
        "published-faces-any-00",
        "honest-faces-small-01",
    ]
    assert len(list(plan.cells())) == 8


def test_settings_of_a_network_go_before_common_ones_and_those_on_a_data_set_before_all(tmp_path: Path) -> None:
    plan = Plan.read(written(tmp_path, TOML))
    small, any_backbone = (plan.config(name, "faces", 4, "run") for name in ("small", "any"))
    assert (small.lr, small.epochs, small.seed, small.output, small.resize) == (0.01, 3, 4, "run", 52)
    assert any_backbone.lr == 3e-4  # of its own recipe
    assert (any_backbone.epochs, any_backbone.backbone, any_backbone.erasing) == (5, "resnet18", (0.1, 0.2))


def test_a_plan_survives_json(tmp_path: Path) -> None:
    plan = Plan.read(written(tmp_path, TOML))
    again = Plan.read(written(tmp_path, json.dumps(plan.to_dict()), "plan.json"))
    assert list(again.cells()) == list(plan.cells())
    assert all(again.config(name, "faces") == plan.config(name, "faces") for name in plan.networks)


def test_one_file_plans_the_whole_published_comparison() -> None:
    plan = Plan.read(PUBLISHED)
    assert len(list(plan.cells())) == 7 * 6 * 10
    for network in plan.networks:
        for data in plan.data:
            config = plan.config(network, data)
            assert (config.epochs, config.patience) == (100, 20), (network, data)
    assert plan.config("dan", "sfew").batch_size == 32 and plan.config("dan", "raf_db").batch_size == 128


SMALL = '[data.a]\npath = "a.npz"\n[networks.b]\nmodel = "base_nano"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("repeats = 0\n" + SMALL, "the number of repeats is 0; expected a whole number from 1"),
        ("repeat = 3\n" + SMALL, "the plan has repeat; expected some of data, networks, protocols"),
        ('protocols = ["fair"]\n' + SMALL, "protocol must be one of honest, published, "),
        ('protocols = "honest"\n' + SMALL, "protocols is 'honest'; expected a list of names"),
        ("", "a plan needs at least one data set, one network and one protocol"),
        (SMALL + '[data."a b"]\npath = "c"', "the name 'a b' becomes part of file names"),
        (SMALL + "[data.c]\nformat = 'npz'", r"data\.c has no path"),
        (SMALL + "[data.c]\npaht = 'npz'", r"data\.c has paht; expected some of path, format"),
        (SMALL + "[networks.c]\nmodel = 'base_nano'\non.d.lr = 1", "network c has settings on d, which is no data set"),
        (SMALL + "[networks.c]\nsettings = {}", "network c has neither a model nor a recipe that names one"),
        (SMALL + "settings.epoch = 3", "network b on a: unknown settings epoch; expected"),
        (SMALL + "settings.epochs = 0", "network b on a: epochs must be at least 1, got 0"),
        (SMALL + "settings.seed = 3", "the setting seed belongs to the bench, not to the settings"),
        (SMALL + "settings.votes = 'argmax'", "the setting votes belongs to data, not to the settings"),
        ("data = 3\n", r"data is 3; expected a table for each, as \[data\.NAME\]"),
        ("repeats = ", "is no plan: "),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Plan.read(written(tmp_path, text))
    assert "\n" not in str(caught.value) and "plan.toml is no plan" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("plan.yaml", "", r"must end in \.toml or \.json"),
        ("plan.json", "[1]", "holds a list"),
        ("plan.json", "{", "no plan"),
    ],
)
def test_other_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan.read(written(tmp_path, text, name))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the plan .*plan\.toml: No such file"):
        Plan.read(tmp_path / "plan.toml")


def test_a_plan_in_python_needs_a_network() -> None:
    with pytest.raises(InputError, match="at least one data set"):
        Plan({"faces": DataSource("faces.npz")}, {})
    assert Plan({"faces": DataSource("a")}, {"n": Network("base_nano")}).repeats == 10
