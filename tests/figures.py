"""Find measured figures on pages, and whether the source that their section names holds them.

A section with figures names its sources in a comment, `<!-- source: A; B -->`, or in a line that begins so:
"Source: `A`".

* `PATH.json`, or `PATH.json#key.key` for a part of it: each figure is a number in the file, rounded or in percent.
* `PATH.md`: a page that is made from result files; each figure is on it.
* `PATH.py`: a script or test that prints or asserts the figures. It exists; nobody checks the figures but who runs it.
* `settings` or `arithmetic`: the numbers are chosen, or computed in the text. `paper`: they are quoted.

The last two kinds may name their figures in brackets, `settings (30, 0.5)`; then they cover only those.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = "CHANGELOG.md"
PAGES = ("README.md", CHANGELOG, "qcs/weights/README.md", "docs/*.md", "docs/tutorials/*.md")
NOT_MEASURED = ("settings", "arithmetic", "paper")

SOURCE = re.compile(r"<!-- source: (.*?) -->|Source: `([^`]+)`", re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->|\]\([^)]*\)", re.DOTALL)
LEVEL = re.compile(r"9[59]%(?=\s+(?:confidence )?intervals?)")
NUMBER = r"(?<![\w.,-])[-+−]?\d[\d,]*(?:\.\d+)?(?![\w.]*\d)"
UNIT = (
    r"(?=(?: to [-+−]?\d[\d.,]*| ± [\d.]+|,? and [-+−]?\d[\d.]*)?"
    r" ?(?:%|percentage points|points\b|times as fast|x\b|ms\b))"
)
SPREAD = re.compile(rf"({NUMBER}) ± ({NUMBER})")
IN_PROSE = re.compile(NUMBER + UNIT)
IN_TABLE = re.compile(r"(?<![\w.,-])[-+−]?\d[\d,]*\.\d+(?:e-?\d+)?(?![\w.]*\d)")


@dataclass(frozen=True)
class Section:
    """A heading of a page with the text up to the next heading."""

    page: str
    heading: str
    text: str

    @property
    def sources(self) -> list[tuple[str, list[str]]]:
        """Return the sources that the section names, each with the figures in its brackets."""
        found = [comment or line for comment, line in SOURCE.findall(self.text)]
        each = [one.strip().rstrip(")").partition(" (") for group in found for one in group.split(";")]
        return [(name, re.split(r",\s+", figures) if figures else []) for name, _, figures in each]

    @property
    def figures(self) -> list[str]:
        """Return the measured figures of the section as they are written, without code and confidence levels."""
        text = LEVEL.sub("", CODE.sub(" ", self.text.replace("\N{NO-BREAK SPACE}", " ")))
        found = [each for pair in SPREAD.findall(text) for each in pair] + IN_PROSE.findall(text)
        rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
        return sorted({*found, *IN_TABLE.findall(rows)})


def sections(root: Path = ROOT) -> Iterator[Section]:
    """Yield the sections of all pages; of the changelog only what is not released."""
    for pattern in PAGES:
        for path in sorted(root.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            if path.name == CHANGELOG:
                text = text.partition("## [Unreleased]")[2].partition("\n## [")[0]
            yield from of_page(str(path.relative_to(root)), text)


def of_page(page: str, text: str) -> Iterator[Section]:
    """Yield the sections of a page; lines in code blocks are no headings."""
    heading, lines, in_code = "", [], False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        if line.startswith("#") and not in_code:
            yield Section(page, heading, "\n".join(lines))
            heading, lines = line.lstrip("# "), []
        lines.append(line)
    yield Section(page, heading, "\n".join(lines))


def problems(section: Section, root: Path = ROOT) -> list[str]:
    """Return what is wrong with the figures of a section: no source, a missing one, or one without the figure."""
    figures, sources = section.figures, section.sources
    where = f"{section.page}, section {section.heading!r}"
    if not figures:
        return []
    if not sources:
        return [f"{where}: {', '.join(figures)}: no source; name one, or delete the figures"]
    paths = [name for name, _ in sources if name not in NOT_MEASURED]
    if missing := [name for name in paths if not (root / name.partition("#")[0]).exists()]:
        return [f"{where}: no file {', '.join(missing)}"]
    stated = [(name, own) for name, own in sources if name in NOT_MEASURED or name.endswith(".py")]
    if any(not own for _, own in stated):
        return []
    covered = {figure for _, own in stated for figure in own}
    held = [name for name in paths if not name.endswith(".py")]
    lost = [each for each in figures if each not in covered and not any(holds(root, name, each) for name in held)]
    return [f"{where}: {', '.join(lost)}: not in {', '.join(held) or 'any file'}"] if lost else []


def holds(root: Path, source: str, figure: str) -> bool:
    """Return whether a file has a number that rounds to the figure, in percent or not, or a page has the figure."""
    name, _, part = source.partition("#")
    text = (root / name).read_text(encoding="utf-8")
    if name.endswith(".md"):
        return re.search(rf"(?<![\d.]){re.escape(figure.lstrip('+-−'))}(?![\d]|\.\d)", text) is not None
    found = json.loads(text)
    for key in part.split(".") if part else ():
        found = found[key]
    plain = figure.replace(",", "").replace("−", "-").lstrip("+-")
    digits = len(plain.partition(".")[2])
    allowed = 0.5 * 10**-digits + 1e-9
    return any(abs(abs(scale * each) - float(plain)) <= allowed for each in numbers(found) for scale in (1, 100))


def numbers(found: Any) -> Iterator[float]:
    """Yield every number in a JSON value."""
    if isinstance(found, bool):
        return
    if isinstance(found, int | float):
        yield float(found)
    for each in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from numbers(each)
