"""Make the options of `qcs train` from the fields of the settings."""

from __future__ import annotations

from dataclasses import MISSING
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from qcs.engine.training import RECIPES
from qcs.engine.training.recipes import FINETUNE, SCRATCH
from qcs.engine.training.settings import Setting, Settings, setting_text, settings_of

IMPLIED = ("model", "in_chans", "resize")  # by the weights that a run starts from
GROUPS = ("Data", "Model", "Optimization", "Augmentation", "Distillation", "Run")

OWN = {
    "kl": ("Distillation", float | None, "Weight of KL distillation, cross to base classifier.", "0"),
    "l2": ("Distillation", float | None, "Weight of L2 distillation of the logits, cross to base classifier.", "0"),
    "recipe": (
        "Run",
        str | None,
        "Settings to start from; other options replace its values.",
        f"{FINETUNE} with --init, else {SCRATCH}",
    ),
    "settings": ("Run", str | None, "JSON file of settings, such as config.json of a run folder.", "none"),
    "resume": ("Run", str | None, "Run folder to resume; takes no other options.", "none"),
}
"""Options that are not settings: group, type, help, default."""


def signature(config: type[Settings]) -> Signature:
    """Return the signature of a command with an option for every setting and for `OWN`, in the order of the groups.

    Every parameter is None where its option is not given.
    """
    parameters = [_of_setting(each) for each in settings_of(config) if each.option is not None]
    grouped = [(each.group, each) for each in settings_of(config)]
    groups = {each.name: group for group, each in grouped} | {name: about[0] for name, about in OWN.items()}
    parameters += [
        _parameter(name, kind, help, default, name, group) for name, (group, kind, help, default) in OWN.items()
    ]
    return Signature(sorted(parameters, key=lambda parameter: _place(groups[parameter.name])))


def _place(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _of_setting(each: Setting) -> Parameter:
    limits = f" Range: {each.range}." if each.range else ""
    choices = f" Choices: {', '.join(map(str, each.choices))}." if each.choices else ""
    help = f"{each.help}{limits}{choices}"
    return _parameter(each.name, option_type(each.type) | None, help, _default(each), each.option, each.group)


def _parameter(name: str, kind: Any, help: str, default: str, option: str | None, group: str) -> Parameter:
    flags = f"--{option}/--no-{option}" if kind == bool | None else f"--{option}"
    about = typer.Option(flags, help=help, show_default=default, rich_help_panel=group)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, about])


def option_type(hint: Any) -> Any:
    """Return the type that Typer parses an option of a setting's type as."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if type(None) in get_args(hint):
        return option_type(kinds[0])
    if get_origin(hint) is Literal:
        return type(kinds[0])
    repeated = get_origin(hint) is dict or (get_origin(hint) is tuple and kinds[-1] is Ellipsis)
    return list[str] if repeated else hint


def _default(each: Setting) -> str:
    """What holds where an option is not given: a value of the recipe, or the default."""
    if each.default is MISSING:
        return "the resumed run's"
    if each.name in IMPLIED:
        return f"that of the weights with --init, else {_of_recipe(each, SCRATCH)}"
    if not any(each.name in recipe for recipe in RECIPES.values()):
        return _shown(each, each.default)
    tuned, fresh = _of_recipe(each, FINETUNE), _of_recipe(each, SCRATCH)
    if tuned == fresh:
        return f"the recipe's; {FINETUNE}, {SCRATCH}: {tuned}"
    return f"the recipe's; {FINETUNE}: {tuned}, {SCRATCH}: {fresh}"


def _of_recipe(each: Setting, name: str) -> str:
    return _shown(each, RECIPES[name].get(each.name, each.default))


def _shown(each: Setting, value: Any) -> str:
    return each.unset if value is None else setting_text(value)
