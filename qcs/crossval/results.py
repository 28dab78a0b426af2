"""Write and read the result files of a bench, one JSON file per cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from qcs.crossval.plan import Cell, Plan
from qcs.crossval.statistics import PairedTest, corrected_t_test, holm, spread
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.settings import settings_of
from qcs.errors import InputError
from qcs.files import write_text

FOLDER = "results"
PLAN = "plan.json"
FORMAT = 1
DEFAULTS = {
    each.name: list(each.default) if isinstance(each.default, tuple) else each.default
    for each in settings_of(TrainConfig)
    if each.role not in ("machine", "repetition") and each.default is not MISSING and each.requires is None
}
MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}


@dataclass(frozen=True)
class Result:
    """The result file of a cell.

    Attributes:
        cell: What was run.
        record: Content of the file.
    """

    cell: Cell
    record: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        """Whether the training diverged."""
        return self.record["status"] == "failed"

    def measure(self, name: str) -> float:
        """Return a figure of the selected weights on the test images, in [0, 1]."""
        return float(self.record["test"][name])

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the training; those that a newer version added have their defaults."""
        return {**DEFAULTS, **self.record["settings"]}

    @property
    def overlap(self) -> float:
        """Test images per training image; 0 where all repeats have one official test set."""
        sizes = {name: sum(counts.values()) for name, counts in self.record["data"]["split"].items()}
        return 0.0 if self.record["data"]["official_test"] else sizes["test"] / sizes["train"]


@dataclass(frozen=True)
class Row:
    """A network on a data set by one protocol.

    Attributes:
        network: Its name.
        results: Its results by repeat; those that failed too.
    """

    network: str
    results: tuple[Result, ...]

    @property
    def finished(self) -> list[Result]:
        """Results with figures."""
        return [result for result in self.results if not result.failed]

    @property
    def failed(self) -> list[Result]:
        """Results of trainings that diverged."""
        return [result for result in self.results if result.failed]

    def spread(self, measure: str) -> tuple[float, float]:
        """Return mean and standard deviation (n − 1) over the finished repeats; NaN where undefined."""
        return spread([result.measure(measure) for result in self.finished])


@dataclass(frozen=True)
class Comparison:
    """Two networks compared over the repeats that both finished.

    Attributes:
        first: Name of a network.
        second: Name of the one that is subtracted.
        test: The paired test.
        adjusted: Its p-value, corrected for all pairs of networks on this data set (Holm).
    """

    first: str
    second: str
    test: PairedTest
    adjusted: float


@dataclass(frozen=True)
class Results:
    """All results of a bench.

    Attributes:
        results: The results, in the order of protocols, data sets, networks and repeats.
        missing: Cells of the plan without a result.
    """

    results: tuple[Result, ...]
    missing: tuple[Cell, ...] = ()

    @property
    def settings(self) -> list[tuple[str, str]]:
        """Pairs of protocol and data set that have results."""
        return list(dict.fromkeys((each.cell.protocol, each.cell.data) for each in self.results))

    def rows(self, protocol: str, data: str) -> list[Row]:
        """Return the networks on a data set by one protocol."""
        chosen = [each for each in self.results if (each.cell.protocol, each.cell.data) == (protocol, data)]
        names = dict.fromkeys(each.cell.network for each in chosen)
        return [Row(name, tuple(each for each in chosen if each.cell.network == name)) for name in names]

    def comparisons(self, protocol: str, data: str, measure: str) -> list[Comparison]:
        """Compare every two networks on a data set over the repeats that both finished."""
        rows = self.rows(protocol, data)
        pairs = [(first, second) for place, first in enumerate(rows) for second in rows[place + 1 :]]
        tests = [_paired(first, second, measure) for first, second in pairs]
        corrected = holm([test.p for test in tests])
        return [
            Comparison(first.network, second.network, test, p)
            for (first, second), test, p in zip(pairs, tests, corrected, strict=True)
        ]


def result_path(folder: Path, cell: Cell) -> Path:
    """Return the result file of a cell."""
    return folder / FOLDER / f"{cell.name}.json"


def write_result(folder: Path, cell: Cell, record: Mapping[str, Any]) -> Result:
    """Write the result file of a cell, complete or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    content = {"format": FORMAT, "cell": cell._asdict(), **record}
    write_text(result_path(folder, cell), json.dumps(content, indent=1, allow_nan=False) + "\n")
    return Result(cell, content)


def read_result(path: Path) -> Result:
    """Read a result file.

    Raises:
        InputError: If it is corrupt or of another format.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        result = Result(Cell(**record["cell"]), record)
        if record["format"] != FORMAT:
            raise InputError(f"{path} has format {record['format']}; this version of qcs reads format {FORMAT}")
        if record["status"] not in ("done", "failed"):
            raise ValueError("its status is neither done nor failed")
        if not result.failed:
            [result.measure(name) for name in MEASURES]
            _ = result.overlap
        return result
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{path} is no result of a bench: {error!r}; remove it and run its cell again") from error


def read_results(folder: str | Path, plan: Plan | None = None) -> Results:
    """Read all results in the folder of a bench, in the order of its plan.

    Args:
        folder: Folder of the bench.
        plan: Its plan. Default: the one that it last ran.

    Raises:
        InputError: If there are none, one is corrupt, or repeats of one network had different settings or images.
    """
    found = [read_result(path) for path in sorted(Path(folder, FOLDER).glob("*.json"))]
    if not found:
        raise InputError(f"{folder} holds no results; expected {FOLDER}/*.json, as a bench writes them")
    for name, alike in _repetitions(found).items():
        for what in ("settings", "content_sha256"):
            if len({json.dumps(_of(each, what), sort_keys=True) for each in alike}) > 1:
                raise InputError(f"the repeats of {name} in {folder} differ in {what}: they are results of two benches")
    planned = read_plan(Path(folder)) if plan is None else plan
    order = {name: place for place, name in enumerate(planned.networks)} if planned else {}
    found.sort(key=lambda each: (each.cell.protocol, each.cell.data, order.get(each.cell.network, len(order))))
    known = {each.cell for each in found}
    return Results(tuple(found), tuple(cell for cell in planned.cells() if cell not in known) if planned else ())


def read_plan(folder: Path) -> Plan | None:
    """Return the plan that a bench last ran in this folder; None if there is none.

    Raises:
        InputError: If the file is corrupt.
    """
    path = folder / PLAN
    return Plan.read(path) if path.exists() else None


def _repetitions(found: Sequence[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for each in found:
        groups.setdefault(f"{each.cell.network} on {each.cell.data}, {each.cell.protocol}", []).append(each)
    return groups


def _of(result: Result, what: str) -> Any:
    return result.settings if what == "settings" else result.record["data"][what]


def _paired(first: Row, second: Row, measure: str) -> PairedTest:
    other = {each.cell.repeat: each for each in second.finished}
    shared = [(each, other[each.cell.repeat]) for each in first.finished if each.cell.repeat in other]
    own, others = ([pair[side].measure(measure) for pair in shared] for side in (0, 1))
    return corrected_t_test(own, others, overlap=max((each.overlap for each, _ in shared), default=0.0))
