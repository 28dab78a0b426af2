"""Write the description of the package page: README.md, with links that work away from this repository.

Everything else that the build needs is in pyproject.toml. If its `[project.urls]` declare the repository as `Source`,
relative links lead there; otherwise links become plain text and pictures are left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from setuptools import setup

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent
CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
RELATIVE = re.compile(r"(?P<picture>!?)\[(?P<text>[^\[\]]*)\]\((?!https?://|mailto:)(?P<target>[^()\s]+)\)")


def description(readme: str, source: str | None) -> str:
    """Return a README without relative links.

    Args:
        readme: The text, in Markdown.
        source: Address of the repository, on a host that serves files at `blob/HEAD` and `raw/HEAD`; None if it has no
            public address.
    """

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link["picture"], link["text"], link["target"]
        if source is None:
            return "" if picture else text
        return f"{picture}[{text}]({source.rstrip('/')}/{'raw' if picture else 'blob'}/HEAD/{target})"

    parts = CODE.split(readme)
    parts[::2] = [RELATIVE.sub(absolute, part) for part in parts[::2]]
    return re.sub(r"\n{3,}", "\n\n", "".join(parts))


if __name__ == "__main__":
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=description(
            (ROOT / "README.md").read_text(encoding="utf-8"), declared.get("urls", {}).get("Source")
        ),
        long_description_content_type="text/markdown",
    )
