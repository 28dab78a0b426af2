"""Register the networks with timm without importing timm.

`timm.create_model("qcs_small")` works after `import qcs`, in whatever order both are imported. Importing timm and
PyTorch for that would cost seconds where neither is used, as in `qcs --help`. So the networks are imported as soon as
timm has been imported, by the hook that Python has for it: a finder on `sys.meta_path`.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE, NETWORKS = "qcs", "qcs.models"


def register_with_timm() -> None:
    """Import the networks, which registers them: now if timm is imported already, otherwise after its import."""
    if "timm" in sys.modules:
        importlib.import_module(NETWORKS)
    else:
        sys.meta_path.insert(0, _AfterTimm())


class _AfterTimm(MetaPathFinder):
    """Import modules as the other finders find them; import the networks once timm is there.

    A module of this package that imports timm is finished first, because the networks may need it.
    """

    def __init__(self) -> None:
        self._thread = threading.local()  # number of modules in the middle of their import

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of timm or of a module of this package, with a loader that looks for timm at its end."""
        if fullname != "timm" and not fullname.startswith(f"{PACKAGE}."):
            return None
        others = [finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec")]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = partial(self._execute, spec.loader.exec_module)
            # On the instance alone, so that the loader stays what it is in every other way.
            spec.loader.exec_module = execute  # type: ignore[method-assign] # wrapped on purpose
        return spec

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        self._thread.depth = getattr(self._thread, "depth", 0) + 1
        try:
            execute(module)
        finally:
            self._thread.depth -= 1
        if not self._thread.depth and "timm" in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            importlib.import_module(NETWORKS)
