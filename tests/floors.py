"""Print the oldest declared versions of the dependencies, as constraints for pip: `make floors` installs these.

`python tests/floors.py EXTRA,...` reads the dependencies, those of the named extras, and pytest's of the extra `dev`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib  # every environment has pip

DECLARED = re.compile(r"(?P<name>[\w.-]+)(\[.*\])?>=(?P<version>[\w.]+)")
TOOLS = ("pytest", "hypothesis")


def floors(project: dict[str, Any], extras: list[str]) -> dict[str, str]:
    """Return the oldest version by package.

    Args:
        project: The table `[project]` of pyproject.toml.
        extras: The extras to install.
    """
    optional = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    wanted += [line for line in optional["dev"] if line.startswith(TOOLS)]
    return {found["name"]: found["version"] for line in wanted if (found := DECLARED.match(line))}


if __name__ == "__main__":
    settings = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    for name, version in sorted(floors(settings["project"], sys.argv[1].split(",")).items()):
        print(f"{name}=={version}")
