"""Check the shapes that docstrings state, such as `(B, N, C)`, in the calls of public functions and layers.

A docstring is a contract. Each tensor argument has one of the shapes that its entry in `Args` states, each returned
tensor one of those that `Returns` states. Without these sections the first line states the shapes of the result and
then of the arguments; a single one holds for both. Names stand for sizes: one that an argument has bound keeps its
size, any other is free for each returned tensor. A dimension may be a formula, such as `C*C`. `pytest --check-shapes`
checks every call of every test.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

SHAPE = re.compile(r"\(((?:branches|B|K)\b[^().]*)\)|\b(scalars?)\b", re.IGNORECASE)
Shape = tuple[str, ...]
Sizes = dict[str, int]


@dataclass(frozen=True)
class Contract:
    """Shapes that a docstring states: those of each argument, and those of the returned tensors."""

    arguments: Mapping[str, tuple[Shape, ...]]
    returned: tuple[Shape, ...]


def contract_of(function: Callable[..., Any]) -> Contract:
    """Read the contract of a function or of a layer's `forward`."""
    summary, sections = _sections(inspect.getdoc(function) or "")
    stated = tuple(_shapes(summary))
    returned = tuple(_shapes(sections.get("Returns", ""))) or stated[:1]
    if "Args" in sections:
        entries = re.split(r"^    (?=\w+:)", sections["Args"], flags=re.MULTILINE)
        arguments = {name: tuple(_shapes(text)) for name, _, text in (entry.partition(":") for entry in entries)}
    else:
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        arguments = {name: (shape,) for name, shape in zip(names, stated[1:] or stated, strict=False)}
    return Contract({name: shapes for name, shapes in arguments.items() if shapes}, returned)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its contract checked in every call that succeeds, except while a compiler traces it."""
    contract, signature = contract_of(function), inspect.signature(function)
    traced, check_call = torch.compiler.is_compiling, check

    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if not traced():
            check_call(contract, signature.bind(*args, **kwargs).arguments, result)
        return result

    # With the globals of its module it remains a function of that module, whose examples doctest finds.
    here = types.FunctionType(call.__code__, function.__globals__, call.__name__, None, call.__closure__)
    return functools.update_wrapper(here, function)


def check(contract: Contract, arguments: Mapping[str, Any], result: Any) -> None:
    """Raise AssertionError if a tensor has none of the shapes that the contract states for it."""
    module = arguments.get("self")
    sizes = {n: v for n, v in vars(module).items() if type(v) is int} if isinstance(module, nn.Module) else {}
    for name, shapes in contract.arguments.items():
        value = arguments.get(name)
        found = [_matched(name, x, shapes, sizes) for x in tree_leaves(value) if isinstance(x, Tensor)]
        if isinstance(value, Tensor):
            sizes |= found[0]
    for x in tree_leaves(result):
        if contract.returned and isinstance(x, Tensor):
            _matched("the result", x, contract.returned, sizes)


def install() -> None:
    """Check all public functions and layers from now on, wherever they are imported later."""
    for function in public_functions():
        replacement = checked(function)
        for module in [m for n, m in sys.modules.items() if n.startswith("qcs")]:
            if vars(module).get(function.__name__) is function:
                setattr(module, function.__name__, replacement)
    for layer in public_modules():
        layer.forward = checked(layer.forward)


def public_functions() -> list[Callable[..., Any]]:
    """Return the public functions on tensors: those of `qcs.functional` and `qcs.losses`."""
    from qcs import functional, losses

    names = [(functional, name) for name in functional.__all__] + [(losses, name) for name in vars(losses)]
    return [getattr(module, name) for module, name in names if inspect.isfunction(getattr(module, name))]


def public_modules() -> list[type[nn.Module]]:
    """Return the public modules: those of `qcs.layers` and `qcs.losses`."""
    from qcs import layers, losses

    members = [*vars(layers).values(), *vars(losses).values()]
    return [member for member in members if inspect.isclass(member) and issubclass(member, nn.Module)]


def _sections(docstring: str) -> tuple[str, dict[str, str]]:
    summary, *parts = re.split(r"^(Args|Returns|Raises|Example):\n", docstring, flags=re.MULTILINE)
    return summary.partition("\n")[0], dict(zip(parts[::2], parts[1::2], strict=True))


def _shapes(text: str) -> Iterator[Shape]:
    for dimensions, scalar in SHAPE.findall(" ".join(text.split())):
        yield () if scalar else tuple(part.strip() for part in dimensions.split(",") if part.strip())


def _matched(name: str, x: Tensor, shapes: tuple[Shape, ...], sizes: Sizes) -> Sizes:
    for shape in shapes:
        if (bound := _bind(shape, x.shape, sizes)) is not None:
            return bound
    stated = " or ".join(f"({', '.join(shape)})" for shape in shapes)
    raise AssertionError(f"{name} has shape {tuple(x.shape)}, its docstring states {stated} with {sizes}")


def _bind(shape: Shape, actual: torch.Size, sizes: Sizes) -> Sizes | None:
    """Return the sizes of names in a shape if a tensor's dimensions agree with them, else None."""
    bound = dict(sizes)
    if len(shape) != len(actual):
        return None
    for dimension, size in zip(shape, actual, strict=True):
        named = dimension.isidentifier()
        expected = bound.setdefault(dimension, size) if named else _computed(dimension, bound)
        if expected is not None and expected != size:
            return None
    return bound


def _computed(formula: str, sizes: Sizes) -> int | None:
    """Return the size that a formula gives, None if it has names of unknown size."""
    try:
        return int(eval(formula.replace("²", "**2"), {"__builtins__": {}}, dict(sizes)))
    except NameError:
        return None
