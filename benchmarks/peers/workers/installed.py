"""Print versions and size of a distribution and all that it needs, in any environment: `python installed.py NAME`."""

import importlib.metadata
import json
import sys
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name


def needed(name: str) -> dict[str, importlib.metadata.Distribution]:
    """Return the installed distributions that a distribution needs without extras, itself among them."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [name]
    while waiting:
        key = canonicalize_name(waiting.pop())
        if key in found:
            continue
        try:
            found[key] = importlib.metadata.distribution(key)
        except importlib.metadata.PackageNotFoundError:  # for another platform
            continue
        needs = map(Requirement, found[key].requires or ())
        waiting += [each.name for each in needs if not each.marker or each.marker.evaluate({"extra": ""})]
    return found


def size(distribution: importlib.metadata.Distribution) -> int:
    """Return the bytes of the files of a distribution that exist."""
    paths = {Path(str(distribution.locate_file(file))) for file in distribution.files or ()}
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    found = needed(sys.argv[1])
    sizes = {name: size(each) for name, each in found.items()}
    print(json.dumps({"version": found[canonicalize_name(sys.argv[1])].version, "sizes": sizes}))
