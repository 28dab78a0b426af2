"""Write the generated pages of the site: the start page, the reference and a page for each checkpoint."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parent))

import checkpoint_pages
import command_line
import public_names

ROOT = Path(__file__).resolve().parents[2]

# The docstring of the module; its public names follow one by one.
ABOUT = """::: {}
    options:
      members: false
      show_root_heading: false
      show_root_toc_entry: false"""


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages; MkDocs calls this after it has collected the files of docs/."""
    for path, text in {**_start(), **_weights(), **_reference(), **checkpoint_pages.pages()}.items():
        files.append(File.generated(config, path, content=text))
    return files


def _start() -> dict[str, str]:
    """Return the start page: README.md, with links made relative to docs/."""
    text = re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text(encoding="utf-8"))
    text = text.replace("](qcs/weights/README.md)", "](weights.md)")
    return {"index.md": f"---\nhide: [navigation]\n---\n\n{text}"}


def _weights() -> dict[str, str]:
    """Return the page of the bundled weights: their model card."""
    return {"weights.md": (ROOT / "qcs" / "weights" / "README.md").read_text(encoding="utf-8")}


def _reference() -> dict[str, str]:
    pages = {f"reference/{page}.md": _reference_page(page) for page in public_names.PAGES}
    return {"reference/command-line.md": command_line.page(), **pages}


def _reference_page(page: str) -> str:
    members = [f"::: {module}.{name}" for module in public_names.PAGES[page] for name in public_names.names_of(module)]
    return "\n\n".join((f"# {page}", ABOUT.format(page), *members))
