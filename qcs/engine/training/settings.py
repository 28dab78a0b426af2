"""Declare a setting once: a dataclass field that carries its help, group, range and choices.

Everything else is made from the fields: the options of the command line, the checks, the JSON form, the settings on a
model card and the settings that a report compares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from qcs.errors import InputError, check_choice

C = TypeVar("C")
KEY = "setting"  # of the metadata of a field
SETTINGS_HERE = "{settings}"  # in the docstring of a documented dataclass

Role = Literal["value", "data", "weights", "machine", "repetition"]
"""What a setting says about a training, which decides where it is shown.

* `"value"`: shown and compared as it is.
* `"data"`: a file or folder that is the same one wherever it lies; its name alone is shown and compared.
* `"weights"`: a source of weights; a model card shows its name without folders.
* `"machine"`: a matter of this machine, such as a folder; neither shown on a card nor compared.
* `"repetition"`: shown, but runs that differ in it alone are repetitions of one another.
"""


class Settings(Protocol):
    """A dataclass whose fields are settings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class Range:
    """Allowed numbers of a setting.

    Args:
        at_least: Smallest allowed number.
        above: Number that all allowed ones are larger than.
        at_most: Largest allowed number.
        below: Number that all allowed ones are smaller than.
        reason: Why, for the message.

    Example:
        >>> str(Range(above=0, at_most=1)), 0 in Range(above=0), str(Range(at_least=0, at_most=1))
        ('above 0 and at most 1', False, 'from 0 to 1')
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    reason: str = ""

    def __contains__(self, value: float) -> bool:
        low = value >= self.at_least if self.at_least is not None else self.above is None or value > self.above
        high = value <= self.at_most if self.at_most is not None else self.below is None or value < self.below
        return low and high and not math.isnan(value)

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least:,} to {self.at_most:,}"
        words = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{word} {limit:,}" for word, limit in words.items() if limit is not None)


@dataclass(frozen=True)
class Setting:
    """A setting, as its field declares it.

    Attributes:
        name: Name of the field.
        type: Type of the field.
        default: Default value; `dataclasses.MISSING` if the setting is required.
        group: Heading that it is shown under.
        help: One sentence that says what it does, with its unit.
        range: Allowed numbers; None without limits.
        choices: Allowed values; empty for any.
        unset: What holds where the value is None.
        option: Name of its option on the command line; None if it has none of its own.
        role: What it says about a training, see `Role`.
        requires: Setting without which it has no effect.
    """

    name: str
    type: Any
    default: Any
    group: str
    help: str
    range: Range | None
    choices: tuple[Any, ...]
    unset: str
    option: str | None
    role: Role
    requires: str | None

    def check(self, value: Any) -> None:
        """Check the type, the range and the choice of a value.

        Raises:
            InputError: If the value is not allowed.
        """
        if not _fits(value, self.type):
            raise InputError(f"{self.name} must be {_type_name(self.type)}, got {value!r}")
        if value is None:
            return
        if self.range is not None and value not in self.range:
            reason = f" ({self.range.reason})" if self.range.reason else ""
            raise InputError(f"{self.name} must be {self.range}{reason}, got {value}")
        if self.choices:
            check_choice(self.name, value, self.choices)

    def acts_in(self, record: Mapping[str, Any]) -> bool:
        """Whether the setting has an effect among these settings."""
        return self.requires is None or bool(record.get(self.requires))

    def without_folders(self, value: Any) -> Any:
        """The value as it may be published: paths by their names alone."""
        if self.role not in ("data", "weights") or value is None:
            return value
        return [_name(each) for each in value] if isinstance(value, list | tuple) else _name(value)


def setting(
    default: Any = MISSING,
    *,
    group: str,
    help: str,
    range: Range | None = None,
    choices: Sequence[Any] = (),
    unset: str = "none",
    option: str | None = "",
    role: Role = "value",
    requires: str | None = None,
) -> Any:
    """Return a dataclass field for a setting; see `Setting` for the arguments.

    The choices of a `Literal` type need not be given; the name of the option is that of the field if not given.
    """
    about = dict(
        group=group,
        help=help,
        range=range,
        choices=tuple(choices),
        unset=unset,
        option=option,
        role=role,
        requires=requires,
    )
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata={KEY: about})
    return field(default=default, metadata={KEY: about})


def settings_of(cls: type[Settings]) -> tuple[Setting, ...]:
    """Return the settings that a dataclass declares, in the order of its fields."""
    hints = get_type_hints(cls)
    return tuple(_declared(each, hints[each.name]) for each in fields(cls) if KEY in each.metadata)


def documented(cls: type[C]) -> type[C]:
    """Add the help of every setting to the docstring of a dataclass, as a class decorator."""
    lines = []
    for each in settings_of(cast(type[Settings], cls)):
        limits = [f"range: {each.range}"] if each.range else []
        choices = [f"choices: {', '.join(map(str, each.choices))}"] if each.choices else []
        unset = each.unset if each.default is None else setting_text(each.default)
        default = [] if each.default is MISSING else [f"default: {unset}"]
        lines.append(f"        {each.name}: {each.help} ({'; '.join([*limits, *choices, *default]) or 'required'})")
    cls.__doc__ = (cls.__doc__ or "").replace(SETTINGS_HERE, "\n".join(["Args:", *lines]))
    return cls


def _declared(each: Any, hint: Any) -> Setting:
    about = dict(each.metadata[KEY])
    if get_origin(hint) is Literal:
        about["choices"] = get_args(hint)
    if about["option"] == "":
        about["option"] = each.name.replace("_", "-")
    default = each.default_factory() if each.default_factory is not MISSING else each.default
    return Setting(name=each.name, type=hint, default=default, **about)


def check(settings: Settings) -> None:
    """Check every setting of a dataclass against its declaration.

    Raises:
        InputError: If a value is not allowed, or is given without the setting that it requires.
    """
    values = {each.name: getattr(settings, each.name) for each in settings_of(type(settings))}
    for each in settings_of(type(settings)):
        each.check(values[each.name])
    for each in settings_of(type(settings)):
        if values[each.name] != each.default and not each.acts_in(values):
            raise InputError(f"{each.name} is {values[each.name]}, but it needs {each.requires}; give both or neither")


def to_json(settings: Any) -> dict[str, Any]:
    """Return the settings of a dataclass as plain values; tuples become lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def from_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values as arguments of the dataclass; lists become tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def published(cls: type[Settings], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that may be published, in the order of the fields.

    All but those of the machine, without the folders of paths, and without settings that have no effect.
    """
    return {
        each.name: each.without_folders(record[each.name])
        for each in settings_of(cls)
        if each.name in record and each.role != "machine" and each.acts_in(record)
    }


def compared(cls: type[Settings], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that tell a run from others: not those of the machine, nor those of repetitions.

    Settings that the dataclass does not declare, as of another version, are kept.
    """
    known = {each.name: each for each in settings_of(cls)}
    kept = {}
    for name, value in record.items():
        role = known[name].role if name in known else "value"
        if role not in ("machine", "repetition"):
            kept[name] = known[name].without_folders(value) if role == "data" else value
    return kept


def setting_text(value: Any) -> str:
    """Return the value of a setting as text.

    Example:
        >>> setting_text(None), setting_text(True), setting_text([0.02, 0.1]), setting_text({"kl": 1.0})
        ('none', 'yes', '0.02, 0.1', 'kl 1')
    """
    if value is None or value == {} or value == [] or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {setting_text(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(setting_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(source: str) -> str:
    """A path without its folders; the name of a repository on the Hub is public as it is."""
    return source if source.startswith("hf-hub:") else Path(source).name


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type, as far as settings use types; choices are checked by their values."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, arg) for arg in args)
    if origin is tuple and args[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(each, args[0]) for each in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(args) and all(map(_fits, value, args))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(k, args[0]) and _fits(v, args[1]) for k, v in value.items())
    if origin is Literal:
        return _fits(value, type(args[0]))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return hint is Any or isinstance(value, hint)


def _type_name(hint: Any) -> str:
    """A declared type in words for a person who writes settings as JSON."""
    if not get_args(hint):
        return str(hint.__name__)
    return str(hint).replace("typing.", "").replace(", ...", "").replace("tuple", "list")
