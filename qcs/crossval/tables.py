"""Write the tables of a bench as Markdown, LaTeX and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qcs.crossval.results import MEASURES, Comparison, Results, Row
from qcs.escaping import printable
from qcs.files import write_text

NOTE = (
    "Mean ± standard deviation (n − 1) over the repeats, in percent, on the test images of each repeat. Every figure "
    "is of the epoch that the validation images chose."
)
FAILED = "† Repeats that diverged count as failed: the table names them, and the mean leaves them out."
TESTS = (
    "Paired tests over the repeats that both networks finished. Where repeats draw their images from one pool, the "
    "t-test is corrected for the overlap of their training images (Nadeau and Bengio); with an official test set it is "
    "the usual one, over seeds alone. Holm: p corrected for all pairs of this table."
)


def write_tables(results: Results, folder: str | Path) -> list[Path]:
    """Write `crossval.md`, `crossval.tex` and `crossval.json` into a folder.

    Returns:
        The files.

    Raises:
        OSError: If a file cannot be written.
    """
    folder = Path(folder)
    return [
        write_text(folder / "crossval.md", markdown(results)),
        write_text(folder / "crossval.tex", latex(results)),
        write_text(folder / "crossval.json", json.dumps(summary(results), indent=1, allow_nan=False) + "\n"),
    ]


def markdown(results: Results) -> str:
    """Return all tables as Markdown."""
    return "\n\n".join(_blocks(results)) + "\n"


def latex(results: Results) -> str:
    """Return a table for each protocol as LaTeX, with the rules of the package booktabs."""
    blocks = ["% Needs \\usepackage{booktabs}."]
    for protocol in protocols(results):
        data = data_sets(results, protocol)
        header = ["", *(f"\\multicolumn{{2}}{{c}}{{{_escaped(name)}}}" for name in data)]
        lines = [
            f"\\begin{{tabular}}{{l{'rr' * len(data)}}}",
            "\\toprule",
            f"{' & '.join(header)} \\\\",
            f"{' & '.join(['Network', *(['Acc.', 'Bal. acc.'] * len(data))])} \\\\",
            "\\midrule",
        ]
        for network, cells in _grid(results, protocol, data):
            lines.append(f"{_escaped(network)} & {' & '.join(_in_latex(cell) for cell in cells)} \\\\")
        notes = f"% Protocol {protocol}. {NOTE}".replace("−", "-").replace("±", "+-")
        blocks.append("\n".join([notes, *lines, "\\bottomrule", "\\end{tabular}"]))
        if any(each.failed for each in results.results if each.cell.protocol == protocol):
            blocks.append("$^\\dagger$ Without repeats that diverged.")
    return "\n\n".join(blocks) + "\n"


def summary(results: Results) -> dict[str, Any]:
    """Return the figures of the tables as plain values: fractions in [0, 1], None where undefined."""
    return {
        "networks": [
            {
                "protocol": protocol,
                "data": data,
                "network": row.network,
                "repeats": len(row.results),
                "failed": [each.cell.repeat for each in row.failed],
                **{
                    name: dict(zip(("mean", "deviation"), map(_plain, row.spread(name)), strict=True))
                    for name in MEASURES
                },
            }
            for protocol, data in results.settings
            for row in results.rows(protocol, data)
        ],
        "tests": [
            {
                "protocol": protocol,
                "data": data,
                "measure": measure,
                "first": each.first,
                "second": each.second,
                "repeats": each.test.repeats,
                **{name: _plain(getattr(each.test, name)) for name in ("difference", "low", "high", "p")},
                "holm": _plain(each.adjusted),
            }
            for protocol, data in results.settings
            for measure in MEASURES
            for each in results.comparisons(protocol, data, measure)
        ],
        "missing": len(results.missing),
    }


def protocols(results: Results) -> list[str]:
    """Return the protocols that have results."""
    return list(dict.fromkeys(protocol for protocol, _ in results.settings))


def data_sets(results: Results, protocol: str) -> list[str]:
    """Return the data sets that have results by a protocol."""
    return [data for each, data in results.settings if each == protocol]


def figure(row: Row | None, measure: str) -> str:
    """Write mean ± standard deviation of a network in percent, with a mark if repeats failed; a dash without results.

    Example:
        >>> figure(None, "accuracy")
        '–'
    """
    if row is None or not row.finished:
        return "–" if row is None else "failed †"
    mean, deviation = row.spread(measure)
    written = f"{100 * mean:.1f}" if math.isnan(deviation) else f"{100 * mean:.1f} ± {100 * deviation:.1f}"
    return f"{written} †" if row.failed else written


def repeats(row: Row | None) -> str:
    """Write the number of repeats, and which failed."""
    if row is None:
        return "0"
    failed = ", ".join(str(each.cell.repeat) for each in row.failed)
    return f"{len(row.finished)} of {len(row.results)}, failed: {failed}" if failed else str(len(row.results))


def compared(each: Comparison) -> tuple[str, str, str, str]:
    """Write a comparison: difference and 95% confidence interval in percentage points, p-value, corrected p-value."""
    test = each.test
    if math.isnan(test.difference):
        return "–", "–", "–", "–"
    interval = "–" if math.isnan(test.low) else f"{100 * test.low:+.1f} to {100 * test.high:+.1f}"
    return f"{100 * test.difference:+.1f}", interval, _probability(test.p), _probability(each.adjusted)


def _blocks(results: Results) -> Iterator[str]:
    yield "# Comparison of networks by repeated runs"
    if results.missing:
        yield f"**{len(results.missing)} cells of the plan have no result yet**, first: {results.missing[0]}."
    for protocol in protocols(results):
        data = data_sets(results, protocol)
        yield f"## Protocol {protocol}"
        header = [f"{name}, {of}" for name in map(printable, data) for of in (*MEASURES.values(), "repeats")]
        yield _table(
            ["network", *header], [[printable(n), *cells] for n, cells in _grid(results, protocol, data, True)]
        )
        yield NOTE
        if failed := [each for each in results.results if each.failed and each.cell.protocol == protocol]:
            yield FAILED
            yield "\n".join(f"- {each.cell}: {printable(each.record['error'])}" for each in failed)
        yield from _tests(results, protocol, data)


def _tests(results: Results, protocol: str, data: Sequence[str]) -> Iterator[str]:
    for name in data:
        for measure, words in MEASURES.items():
            if found := results.comparisons(protocol, name, measure):
                yield f"### {printable(name)}, {protocol}: differences in {words}"
                header = ["first − second", "points", "95% confidence interval", "p", "p (Holm)", "repeats"]
                yield _table(
                    header,
                    [
                        [f"{printable(each.first)} − {printable(each.second)}", *compared(each), str(each.test.repeats)]
                        for each in found
                    ],
                )
    if any(results.comparisons(protocol, name, "accuracy") for name in data):
        yield TESTS


def _grid(
    results: Results, protocol: str, data: Sequence[str], with_repeats: bool = False
) -> Iterator[tuple[str, list[str]]]:
    """Yield each network with its figures on every data set."""
    rows = {name: {row.network: row for row in results.rows(protocol, name)} for name in data}
    for network in dict.fromkeys(network for of in rows.values() for network in of):
        cells: list[str] = []
        for name in data:
            row = rows[name].get(network)
            cells += [figure(row, measure) for measure in MEASURES]
            cells += [repeats(row)] if with_repeats else []
        yield network, cells


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines)


def _in_latex(cell: str) -> str:
    return cell.replace(" ± ", "\\,$\\pm$\\,").replace(" †", "$^\\dagger$").replace("–", "--")


def _escaped(name: str) -> str:
    return "".join(f"\\{letter}" if letter in "_&%#$" else letter for letter in printable(name))


def _probability(p: float) -> str:
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
