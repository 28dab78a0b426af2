"""What the package shows of itself: every part by its name, and no function that hides its module."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

import qcs

PACKAGES = [name for _, name, is_package in pkgutil.walk_packages(qcs.__path__, "qcs.") if is_package]
PARTS = [name for name in PACKAGES if name.count(".") == 1 and name != "qcs.cli"]


@pytest.mark.parametrize("package_name", ["qcs", *PACKAGES])
def test_no_public_name_hides_a_module(package_name: str) -> None:
    package = import_module(package_name)
    for module in pkgutil.iter_modules(package.__path__):
        assert isinstance(getattr(package, module.name, package), ModuleType), f"{package_name}.{module.name}"


def test_dir_shows_every_part_and_only_what_there_is() -> None:
    shown = dir(qcs)
    assert {name.removeprefix("qcs.") for name in PARTS if name != "qcs.ops"} <= set(shown)
    assert {"create_model", "list_models", "load_model", "load_checkpoint", "__version__"} <= set(shown)
    for name in shown:
        getattr(qcs, name)


def test_parts_that_load_on_use_are_modules_and_others_are_unknown() -> None:
    assert qcs.publish.push.__module__ == "qcs.publish.upload"
    with pytest.raises(AttributeError, match="module 'qcs' has no attribute 'hub'"):
        qcs.hub  # noqa: B018
