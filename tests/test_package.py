"""What the package shows of itself: every part by its name, no function that hides its module, and a package page."""

from __future__ import annotations

import ast
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from floors import tomllib

import qcs
from qcs import imports

ROOT = Path(__file__).resolve().parents[1]
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


# The extras


def declared(extra: str) -> set[str]:
    """Packages that an extra declares, also through other extras; with underscores, as their modules are named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: set[str] = set()
    for line in project["optional-dependencies"][extra]:
        if line.startswith(f"{imports.DISTRIBUTION}["):
            found |= set().union(*map(declared, line.removesuffix("]").partition("[")[2].split(",")))
        else:
            found.add(re.split(r"[^\w-]", line)[0].replace("-", "_"))
    return found


def asked_for() -> Iterator[tuple[str, str, set[str]]]:
    """Every place that asks for optional packages: the file, the extra that it names, and the packages."""
    for file in sorted((ROOT / "qcs").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require":
                given = {each.arg: each.value for each in node.keywords}
                modules = [each.value for each in node.args if isinstance(each, ast.Constant)]
                if isinstance(extra := given["extra"], ast.Constant):
                    packages = {imports.PACKAGES.get(name, name).replace("-", "_") for name in modules}
                    yield str(file.relative_to(ROOT)), extra.value, packages


def test_an_extra_that_a_message_names_installs_all_that_is_asked_for() -> None:
    asked = list(asked_for())
    assert {"faces", "serve", "report", "train", "viz"} <= {extra for _, extra, _ in asked}
    for file, extra, packages in asked:
        assert packages <= declared(extra), file


def test_faces_need_neither_training_nor_its_packages() -> None:
    for extra in ("faces", "serve", "export"):
        assert not {"accelerate", "tensorboard", "torchmetrics"} & declared(extra), extra


# The package page


class Links(HTMLParser):
    """Collects the targets of links and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value or "" for name, value in attrs if name in ("href", "src")]


def built_metadata(folder: Path, urls: str = "") -> Message:
    """Return the metadata that a build in an empty folder makes, without network access."""
    for part in ("qcs", "made"):
        (folder / part).mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "qcs/version.py", "qcs/__init__.py"):
        shutil.copy(ROOT / name, folder / name)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(settings.replace("[project.urls]\n", f"[project.urls]\n{urls}\n"))
    code = "from setuptools import build_meta; print(build_meta.prepare_metadata_for_build_wheel('made'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return message_from_string(
        (folder / "made" / done.stdout.splitlines()[-1] / "METADATA").read_text(encoding="utf-8")
    )


def links_of(text: str) -> list[str]:
    page = Links()
    page.feed(pytest.importorskip("markdown").markdown(text, extensions=["tables", "fenced_code"]))
    return page.targets


def is_relative(link: str) -> bool:
    return not link.startswith(("https://", "http://", "mailto:"))


def test_the_package_page_has_no_relative_links(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sum(map(is_relative, links_of(readme))) > 30
    built = built_metadata(tmp_path)
    text = str(built.get_payload())
    assert built["Description-Content-Type"] == "text/markdown"
    found = links_of(text)
    assert [link for link in found if is_relative(link)] == []
    assert "https://arxiv.org/abs/2411.01988" in found
    assert "pip install 'qcs-fer[faces]'" in text


def test_links_of_the_package_page_lead_to_the_declared_source(tmp_path: Path) -> None:
    built = built_metadata(tmp_path, 'Source = "https://example.org/qcs/"')
    found = links_of(str(built.get_payload()))
    assert [link for link in found if is_relative(link)] == []
    assert "https://example.org/qcs/blob/HEAD/docs/method.md" in found
    assert any(link.startswith("https://example.org/qcs/raw/HEAD/docs/images/") for link in found)
