"""List the public names: the reference shows them, and the tests require their documentation."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from types import ModuleType

# Pages of the reference, and the modules whose names each of them shows.
PAGES = {
    "qcs": ("qcs",),
    "qcs.functional": ("qcs.functional",),
    "qcs.layers": ("qcs.layers",),
    "qcs.losses": ("qcs.losses",),
    "qcs.samplers": ("qcs.samplers",),
    "qcs.models": ("qcs.models", "qcs.models.golden", "qcs.models.peers"),
    "qcs.data": ("qcs.data",),
    "qcs.engine": ("qcs.engine",),
    "qcs.crossval": ("qcs.crossval",),
    "qcs.faces": ("qcs.faces",),
    "qcs.publish": ("qcs.publish",),
    "qcs.export": ("qcs.export",),
    "qcs.visualize": ("qcs.visualize",),
    "qcs.report": ("qcs.report",),
    "qcs.errors": ("qcs.errors",),
}


def names_of(module_name: str) -> list[str]:
    """Return the public names of a module, except submodules.

    These are the names in its `__all__`; without one, the names that it defines or re-exports (`X as X`).
    """
    module = import_module(module_name)
    names: list[str] = getattr(module, "__all__", None) or _exported(module)
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]


def _exported(module: ModuleType) -> list[str]:
    tree = ast.parse(inspect.getsource(module))
    imports = [
        node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    ]  # also those for type checkers alone
    names = [alias.name for node in imports for alias in node.names if alias.name == alias.asname]
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return names + [name for name in defined if not name.startswith("_")]
