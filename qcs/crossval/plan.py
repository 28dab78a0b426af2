"""State what is compared: networks × data sets × protocols × repeats, from one file or in Python."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from qcs.crossval.published import REPEATS
from qcs.engine.training.config import TrainConfig
from qcs.errors import InputError, check_choice
from qcs.imports import require

PROTOCOLS = ("honest", "published", "published-integer", "published-64-16-20")
OWNED = {"data": "data", "data_format": "data", "image_root": "data", "votes": "data", "model": "networks"}
"""Settings of a training that belong to another table of the plan, or, as below, to the bench."""
OWNED |= dict.fromkeys(("output", "seed", "validation_fraction"), "the bench")

_NAME = re.compile(r"[A-Za-z0-9][\w.]*")
T = TypeVar("T")


@dataclass(frozen=True)
class DataSource:
    """A data set; the arguments are those of `read_pool`.

    Args:
        path: Archive, folder or list.
        format: Format of the data.
        image_root: Folder that the paths of a list start from.
        votes: Rule for crowd votes.
        classes: Classes to keep.
        group_pattern: What images that belong together share in their names.
        limit: About so many images at most.
    """

    path: str
    format: str | None = None
    image_root: str | None = None
    votes: str | None = None
    classes: tuple[str, ...] | None = None
    group_pattern: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Network:
    """A network with the settings of its training.

    Args:
        model: Name of the network, see `qcs models`; None for that of the recipe.
        recipe: Recipe to start from, with `{data}` for the name of the data set, as in `dan-{data}-crossval`. None for
            that of the plan's settings, else `finetune` with initial weights and `scratch` without.
        settings: Settings of `TrainConfig`.
        on: Settings that hold on one data set only, a recipe among them, by the name of the data set.
    """

    model: str | None = None
    recipe: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class Cell(NamedTuple):
    """One training: a network on a data set, in one repeat of a protocol."""

    protocol: str
    data: str
    network: str
    repeat: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.protocol}-{self.data}-{self.network}-{self.repeat:02}"

    def __str__(self) -> str:
        return f"{self.network} on {self.data}, {self.protocol}, repeat {self.repeat}"


@dataclass(frozen=True)
class Plan:
    """What a bench runs.

    Args:
        data: Data sets by name.
        networks: Networks by name.
        protocols: Ways to split, among `"honest"`, `"published"` and its variants `"published-integer"` and
            `"published-64-16-20"`.
        repeats: Repeats of each.
        settings: Settings of `TrainConfig`, and perhaps a `recipe`, for all networks; those of a network go first.

    Raises:
        InputError: If a name, protocol, number or setting is not allowed, or nothing would be run.

    Example:
        >>> plan = Plan({"faces": DataSource("faces.npz")}, {"small": Network("base_small")}, repeats=3)
        >>> [cell.name for cell in plan.cells()]
        ['honest-faces-small-00', 'honest-faces-small-01', 'honest-faces-small-02']
    """

    data: Mapping[str, DataSource]
    networks: Mapping[str, Network]
    protocols: tuple[str, ...] = ("honest",)
    repeats: int = REPEATS
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.data and self.networks and self.protocols):
            raise InputError("a plan needs at least one data set, one network and one protocol")
        if not isinstance(self.repeats, int) or self.repeats < 1:
            raise InputError(f"the number of repeats is {self.repeats!r}; expected a whole number from 1")
        for name in (*self.data, *self.networks):
            if not _NAME.fullmatch(name):
                raise InputError(f"the name {name!r} becomes part of file names; expected letters, digits, _ and .")
        for protocol in self.protocols:
            check_choice("protocol", protocol, PROTOCOLS)
        for network in self.networks:
            if self.networks[network].model is None and self.networks[network].recipe is None:
                raise InputError(f"network {network} has neither a model nor a recipe that names one")
            if unknown := set(self.networks[network].on) - set(self.data):
                raise InputError(f"network {network} has settings on {', '.join(unknown)}, which is no data set here")
            for data in self.data:
                self.config(network, data)

    def cells(self) -> Iterator[Cell]:
        """Yield all trainings: the first repeat of all first, so that a part of a bench compares all networks."""
        for repeat in range(self.repeats):
            for protocol in self.protocols:
                for data in self.data:
                    yield from (Cell(protocol, data, network, repeat) for network in self.networks)

    def config(self, network: str, data: str, repeat: int = 0, output: str | None = None) -> TrainConfig:
        """Return the settings of a training; its seed is the number of the repeat.

        Raises:
            InputError: If a setting is unknown, not allowed, or not one of a network.
        """
        about = self.networks[network]
        own_recipe = {} if about.recipe is None else {"recipe": about.recipe}
        given = {**self.settings, **own_recipe, **about.settings, **about.on.get(data, {})}
        recipe = given.pop("recipe", None)
        recipe = recipe and str(recipe).replace("{data}", data)
        for name in given.keys() & OWNED.keys():
            raise InputError(f"network {network}: the setting {name} belongs to {OWNED[name]}, not to the settings")
        own = dict(data=str(self.data[data].path), seed=repeat, output=output)
        own |= {} if about.model is None else {"model": about.model}
        try:
            return TrainConfig.from_recipe(recipe, **given, **own)
        except InputError as error:
            raise InputError(f"network {network} on {data}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Plan:
        """Build a plan from plain values, as in a file.

        Raises:
            InputError: If a key is unknown or a value is not allowed.
        """
        record = dict(record)
        _known(record, cls, "the plan")
        data, networks = (_tables(record, name) for name in ("data", "networks"))
        protocols = record.pop("protocols", ("honest",))
        if not isinstance(protocols, Sequence) or isinstance(protocols, str):
            raise InputError(f"protocols is {protocols!r}; expected a list of names")
        return cls(
            {name: _built(DataSource, table, f"data.{name}") for name, table in data.items()},
            {name: _built(Network, table, f"networks.{name}") for name, table in networks.items()},
            tuple(protocols),
            **record,
        )

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan from a TOML or JSON file; paths in it start from its folder.

        Raises:
            InputError: If the file cannot be read or its content is no plan.
        """
        path = Path(path)
        try:
            plan = cls.from_dict(_parsed(path, path.read_text(encoding="utf-8")))
        except OSError as error:
            raise InputError(f"cannot read the plan {path}: {error.strerror or error}") from error
        except ValueError as error:  # TOML, JSON and encoding errors, and those of the content
            raise InputError(f"{path} is no plan: {' '.join(str(error).split())}") from error
        return plan._from_folder(path.parent)

    def _from_folder(self, folder: Path) -> Plan:
        def placed(each: DataSource) -> DataSource:
            root = each.image_root if each.image_root is None else str(folder / each.image_root)
            return DataSource(**{**vars(each), "path": str(folder / each.path), "image_root": root})

        return Plan(**{**vars(self), "data": {name: placed(each) for name, each in self.data.items()}})


def _parsed(path: Path, text: str) -> dict[str, Any]:
    if path.suffix.lower() == ".json":
        found = json.loads(text)
        if not isinstance(found, dict):
            raise InputError(f"it holds a {type(found).__name__}, expected tables by name")
        return found
    if path.suffix.lower() != ".toml":
        raise InputError("its name must end in .toml or .json")
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        require("tomli", extra="crossval", purpose="reading TOML")
        import tomli as tomllib
    return dict(tomllib.loads(text))


def _tables(record: dict[str, Any], name: str) -> dict[str, Any]:
    tables = record.pop(name, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InputError(f"{name} is {tables!r}; expected a table for each, as [{name}.NAME]")
    return tables


def _built(kind: type[T], table: Mapping[str, Any], place: str) -> T:
    """Build a part of the plan; lists become tuples."""
    _known(table, kind, place)
    if kind is DataSource and not isinstance(table.get("path"), str):
        raise InputError(f"{place} has no path")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in table.items()})


def _known(table: Mapping[str, Any], kind: type[Any], place: str) -> None:
    allowed = [each.name for each in fields(kind)]
    if unknown := table.keys() - set(allowed):
        raise InputError(f"{place} has {', '.join(sorted(unknown))}; expected some of {', '.join(allowed)}")
