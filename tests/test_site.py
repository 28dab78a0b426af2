"""The documentation builds without a warning, shows every public name, and asks nothing of the network."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import griffe
import public_names
import pytest
from browser import DESKTOP, PHONE, opened

import qcs
from qcs.models.zoo import REPORTED_ACCURACY

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
NAMES = [
    f"{module}.{name}"
    for page in public_names.PAGES.values()
    for module in page
    for name in public_names.names_of(module)
]
NOT_FOR_USERS = {
    "__main__",
    "branches",
    "cli",
    "escaping",
    "files",
    "onnx_runtime",
    "ops",
    "serve",
    "typed_call",
    "version",
}
STANDARD_TERMS = {
    "training": (
        *("hyperparameters", "resume", "fine-tuning", "early stopping", "gradient clipping", "gradient accumulation"),
        *("label smoothing", "exponential moving average", "EMA", "knowledge distillation", "learning-rate schedule"),
        *("layer-wise learning-rate decay", "mixed precision", "weight decay", "grayscale", "distributed training"),
    ),
    "backbones": ("pretrained", "freezing", "layer-wise learning-rate decay", "activation checkpointing"),
    "faces": ("test-time augmentation", "face detection", "alignment", "landmarks"),
    "export": ("quantization", "int8", "bf16", "ONNX Runtime", "preprocessing"),
    "report": ("confusion matrix", "calibration", "confidence interval", "balanced accuracy", "bootstrap"),
    "pictures": ("Grad-CAM", "t-SNE", "confusion matrix", "training curves"),
    "benchmarks": ("training step",),
}
"""Words of the field, and the page that a search for them must find."""

FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def package() -> griffe.Object | griffe.Alias:
    """The source of the package."""
    return griffe.load("qcs", search_paths=[str(ROOT)], docstring_parser="google")


class Links(HTMLParser):
    """Collects what a page fetches and where it links to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in FETCHED and (address := given.get(FETCHED[tag])):
            self.fetched.append(address)
        if tag == "a" and (address := given.get("href")):
            self.links.append(address)


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    shown = {line.split(" ", 1)[0] for line in zlib.decompress(inventory).decode().splitlines()}
    assert set(NAMES) <= shown
    commands = (site / "reference" / "command-line.html").read_text(encoding="utf-8")
    assert all(f'id="qcs-{name}"' in commands for name in ("train", "predict", "export", "data-check"))


@pytest.mark.slow
def test_pages_fetch_nothing_from_elsewhere_and_link_by_well_formed_addresses(site: Path) -> None:
    pages = {page: Links(page) for page in site.rglob("*.html")}
    assert len(pages) > 40
    assert not [address for page in pages.values() for address in page.fetched if urlsplit(address).netloc]
    for address in {address for page in pages.values() for address in page.links}:
        parts = urlsplit(address)
        assert not parts.scheme or (parts.scheme == "https" and "." in parts.netloc), address
        assert " " not in address


@pytest.mark.slow
def test_equations_are_mathml_and_drawings_are_inline_svg(site: Path) -> None:
    method = (site / "method.html").read_text(encoding="utf-8")
    assert method.count("<math") > 20
    assert not re.search(r"arithmatex|\\\(|\\\[|\$\$", method)
    assert '<svg role="img" aria-label="Four images' in method


@pytest.mark.slow
def test_search_finds_names_and_words(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    text = " ".join(f"{page['title']} {page['text']}" for page in index["docs"])
    assert all(word in text for word in ("QuadrupletCrossModule", "softmax", "--freeze-backbone", "AffectNet-8"))


@pytest.mark.slow
@pytest.mark.parametrize("page", STANDARD_TERMS)
def test_search_for_a_standard_term_finds_its_page(page: str, site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    sections = [section for section in index["docs"] if section["location"].startswith(f"{page}.html")]
    text = " ".join(f"{section['title']} {section['text']}" for section in sections).lower()
    assert [term for term in STANDARD_TERMS[page] if term.lower() not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTED_ACCURACY)
def test_every_checkpoint_has_a_page(name: str, site: Path) -> None:
    page = (site / "checkpoints" / f"{name}.html").read_text(encoding="utf-8")
    assert f"{REPORTED_ACCURACY[name]:.2%}" in page
    assert "--recipe" in page


def test_every_public_name_is_documented(package: griffe.Object) -> None:
    members = [package[name.removeprefix("qcs.")] for name in NAMES]
    methods = [method for member in members if member.is_class for method in public_methods(member)]
    assert [member.path for member in (*members, *methods) if not member.docstring] == []


def public_methods(of: griffe.Object) -> list[griffe.Object]:
    """Those a class defines itself, without what torch asks for in order to print a module."""
    return [m for m in of.members.values() if m.is_function and not m.name.startswith("_") and m.name != "extra_repr"]


def test_every_public_module_has_a_page() -> None:
    modules = {module.name for module in pkgutil.iter_modules(qcs.__path__)}
    assert {f"qcs.{name}" for name in modules - NOT_FOR_USERS} | {"qcs"} == set(public_names.PAGES)


BROKEN_CODE = """() => [...document.querySelectorAll("article table code")]
  .filter((code) => code.getClientRects().length > 1).map((code) => code.textContent)"""
"""Code in tables that is broken into several lines."""


def test_tables_are_readable_at_two_widths(site: Path, browser: Browser) -> None:
    pages = sorted(page for page in site.rglob("*.html") if "<table>" in page.read_text(encoding="utf-8"))
    assert pages
    for page in pages:
        for size in (DESKTOP, PHONE):
            with opened(browser, page, size) as watched:
                assert not watched.scrolls_sideways, (page.name, size)
                assert watched.page.evaluate(BROKEN_CODE) == [], (page.name, size)
