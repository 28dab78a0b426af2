"""Write the section of docs/crossval.md on the comparison of four networks: `python -m benchmarks.crossval.page`."""

from __future__ import annotations

import re
from pathlib import Path

from qcs.crossval import Plan, Results, read_results
from qcs.crossval.tables import markdown
from qcs.files import write_text

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "crossval.md"
START = "## A comparison of four networks"
SOURCE = "<!-- source: benchmarks/crossval/crossval.json -->"
END = "## The published table"


def section(results: Results) -> str:
    """Return the section: what was run, and the tables of the results."""
    done, planned = len(results.results), len(results.results) + len(results.missing)
    tables = markdown(results).partition("\n\n")[2].replace("### ", "#### ").replace("## Protocol", "### Protocol")
    tables = re.sub(r"^(###.*)$", rf"\1\n\n{SOURCE}", tables, flags=re.MULTILINE)
    state = "" if done == planned else f" {done} of the {planned} trainings are done; the same command goes on."
    return f"""{START}

{SOURCE}

DAN, DDAMFN, `base_small` and `qcs_small` on FERPlus, from random weights, at 48 pixels, three repeats, both protocols:
`python -m benchmarks.crossval --data FOLDER` runs `benchmarks/crossval/plan.toml` on one core.{state}
About 2,000 images are drawn, and a training sees 864 image views in the published protocol and 1,248 in the honest one.
That is far too few to rank networks, which hardly do better than the most frequent class: the tables show what the
bench writes.

{tables}"""


def main() -> None:
    """Write the section."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, after = text.partition(END)
    write_text(PAGE, f"{before.partition(START)[0]}{section(results())}\n{END}{after}")
    print(f"wrote {PAGE}")


def results() -> Results:
    """Return the committed results."""
    return read_results(HERE, Plan.read(HERE / "plan.toml"))


if __name__ == "__main__":
    main()
