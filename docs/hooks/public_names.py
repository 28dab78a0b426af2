"""The public names: what the reference shows, and what the tests ask to be documented."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from types import ModuleType

# Page of the reference: the modules whose names it shows.
PAGES = {
    "qcs": ("qcs",),
    "qcs.functional": ("qcs.functional",),
    "qcs.layers": ("qcs.layers",),
    "qcs.losses": ("qcs.losses",),
    "qcs.samplers": ("qcs.samplers",),
    "qcs.models": ("qcs.models", "qcs.models.golden"),
    "qcs.data": ("qcs.data",),
    "qcs.engine": ("qcs.engine",),
    "qcs.faces": ("qcs.faces",),
    "qcs.publish": ("qcs.publish.push", "qcs.publish.repository"),
    "qcs.export": ("qcs.export",),
    "qcs.visualize": ("qcs.visualize",),
    "qcs.report": ("qcs.report",),
    "qcs.errors": ("qcs.errors",),
}


def names_of(module_name: str) -> list[str]:
    """Names that a module offers, without the modules among them.

    Those in its `__all__`, or else what it defines and what it imports under the same name again (`X as X`).
    """
    module = import_module(module_name)
    names: list[str] = getattr(module, "__all__", None) or _offered(module)
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]


def _offered(module: ModuleType) -> list[str]:
    names: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ImportFrom):
            names += [alias.name for alias in node.names if alias.name == alias.asname]
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            names.append(node.name)
    return names
