"""Write the page of results: the question, a figure, a short table, and the page of all tables behind it."""

from __future__ import annotations

from pathlib import Path

from benchmarks.ferplus import tables, weights_page
from benchmarks.ferplus.audit import read_records
from benchmarks.ferplus.figure import Bar, intervals
from benchmarks.ferplus.plan import PLAN
from benchmarks.ferplus.statistics import LEVEL, Difference
from qcs.files import write_text

PAGE, TABLES, FIGURE = "results.md", "tables.md", "images/results.svg"
GROUPS = ("core", "sam", "random-partners", "fresh")
"""Groups of the short table: the method itself. The others change one component of it."""

METHODS = {
    "base": "base",
    "base-quadruplets": "base, quadruplets",
    "base-sam": "base, SAM",
    "dcs": "DCS",
    "qcs": "QCS",
    "qcs-sam": "QCS, SAM",
    "qcs-random-partners": "QCS, random partners",
    "base-fresh": "base, fresh",
    "dcs-fresh": "DCS, fresh",
    "qcs-fresh": "QCS, fresh",
}
NO_BREAK = "\N{NO-BREAK SPACE}"
MEASURES = ("accuracy", "balanced_accuracy")


def write(results: Path, docs: Path) -> None:
    """Write the pages and the figure of a folder of results atomically.

    Raises:
        InputError: As `tables.read` and `tables.read_partners`.
    """
    for name, content in whole(results).items():
        write_text(docs / name, content)


def whole(results: Path) -> dict[str, str]:
    """Return the content of each file by its path below docs/.

    Raises:
        InputError: As `tables.read` and `tables.read_partners`.
    """
    runs, partners = tables.read(results), tables.read_partners(results / "partners")
    records = list(read_records(results))
    return {
        PAGE: page(runs) + "".join(map(_weights, records)),
        TABLES: tables.page(runs, partners) + "".join(_weights_partners(each) for each in records if _compares(each)),
        FIGURE: figure(runs),
    }


def figure(runs: tables.Runs) -> str:
    """Return the figure of the short table's differences as SVG."""
    bars = [
        Bar(f"{METHODS[name]} − {METHODS[other]}", 100 * found.mean, 100 * found.margin)
        for name, other in _pairs(runs)
        if (found := tables.compared(runs, name, other, "accuracy"))
    ]
    return intervals(bars, "difference in accuracy, percentage points")


def page(runs: tables.Runs) -> str:
    """Return the page in Markdown."""
    head = (
        "# Results\n\n"
        "**Does comparing images in training improve the network that runs at inference?** Every network below was "
        "trained on FERPlus from the same weights, or from random weights, for equally many image views, and tested "
        "without comparison. [The experiment](experiment.md) explains the conditions and the findings; "
        "[all tables](tables.md) have every measure."
    )
    if not (pairs := _pairs(runs)):
        return f"{head}\n\nNo comparison has finished yet.\n"
    parts = [
        head,
        " ".join(part for part in (_answer(runs), tables.likelihood_answer(runs)) if part),
        f"![Differences in accuracy with 95% confidence intervals; the table below has the numbers]({FIGURE})",
        "Dots are mean differences over seeds, lines are 95% confidence intervals (t distribution, not corrected for "
        "the number of comparisons). To the right of zero, the first network of the pair is more accurate.",
        _table(runs, pairs),
        "*base*: the base network alone; *base, quadruplets*: on the images of quadruplets; *DCS* and *QCS*: trained "
        "with pairs and quadruplets; *SAM*: with that optimizer; *random partners*: quadruplets sampled without regard "
        "to labels; *fresh*: from random weights.",
        "Percent: mean ± standard deviation over seeds. Differences in percentage points: mean and 95% confidence "
        "interval. `python -m benchmarks.ferplus tables` writes this page, its figure and the tables from the files in "
        "`benchmarks/ferplus/results/`.",
    ]
    return "\n\n".join(parts) + "\n"


def _weights(record: weights_page.Record) -> str:
    """Return the section on weights in the package."""
    parts = [
        f"## The weights in the package: `{record['name']}`",
        weights_page.source(record)
        + " Brackets are 95% intervals (bootstrap over images; over people on muxspace); the calibration error of "
        "resampled images is larger by chance, so its interval lies high.",
        weights_page.measures(record),
        weights_page.copies(record),
        weights_page.comparison(record),
        weights_page.calibration(record),
        weights_page.classes(record),
    ]
    return "\n" + "\n\n".join(part for part in parts if part) + "\n"


def _compares(record: weights_page.Record) -> bool:
    """Return whether the weights have a cross part."""
    return record["networks"]["now"]["partners"] is not None


def _weights_partners(record: weights_page.Record) -> str:
    """Return the section on the cross classifiers of weights in the package."""
    parts = [
        "## Partner images after longer training",
        weights_page.source(record)
        + " The same measurement as above. Partner images drawn by label carry the label; how "
        "much a cross classifier reads from them is at most the difference of the last two columns.",
        weights_page.partners(record),
    ]
    return "\n" + "\n\n".join(parts) + "\n"


def _pairs(runs: tables.Runs) -> list[tuple[str, str]]:
    """Return conditions of the short table with their baselines."""
    shown = [c for c in PLAN if c.group in GROUPS and c.name in runs]
    return [(c.name, other) for c in shown for other in c.against if other in METHODS and other in runs]


def _answer(runs: tables.Runs) -> str:
    """State how many of all comparisons are clear."""
    above, below, open_ = tables.verdict(runs, tables.main_conditions(runs))
    total = len(above) + len(below) + len(open_)
    if not total:
        return "There are too few seeds for an answer."
    return (
        f"Of {total} comparisons with a baseline, variants of the method included, {len(above)} are "
        f"{_list('clearly above', above)}, {len(below)} are {_list('clearly below', below)}, and {len(open_)} "
        f"show no clear difference in accuracy (paired t test over seeds, p below {LEVEL} after correction for all "
        "of them)."
    )


def _list(how: str, pairs: tables.Pairs) -> str:
    return f"{how} it ({tables.named(pairs)})" if pairs else f"{how} it"


def _table(runs: tables.Runs, pairs: list[tuple[str, str]]) -> str:
    rows = []
    for name, other in pairs:
        both = [(tables.spread_of(runs, name, what), tables.compared(runs, name, other, what)) for what in MEASURES]
        cells = [cell for spread, found in both for cell in (spread, _interval(found))]
        cells = [cell.replace(" ", NO_BREAK) for cell in cells]
        rows.append((METHODS[name], METHODS[other], *cells))
    header = ("network", "compared with", "accuracy", "difference", "balanced accuracy", "difference")
    return tables.table(header, rows)


def _interval(found: Difference | None) -> str:
    if found is None:
        return tables.NONE
    mean, margin = 100 * found.mean, 100 * found.margin
    return f"{mean:+.2f}" if margin != margin else f"{mean:+.2f} ({mean - margin:+.2f} to {mean + margin:+.2f})"
