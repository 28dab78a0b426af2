"""Run the cells of a plan that have no result yet; it can be killed anywhere and started again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from qcs.crossval.cell import environment, of_data, of_run, of_settings, remove_run, split_of, trained
from qcs.crossval.plan import Cell, Plan
from qcs.crossval.pool import Pool, read_pool
from qcs.crossval.results import PLAN, Result, read_result, result_path, write_result
from qcs.engine.training.progress import Progress, TimeLeft
from qcs.errors import DivergedError, InputError
from qcs.files import write_text, writing

WHOLE = (1, 1)


@dataclass
class Outcome:
    """What became of the cells of one call.

    Attributes:
        before: Cells that had a result.
        finished: Cells that have one now; among them those that diverged.
        elsewhere: Cells that another process was running.
        refused: Cells that could not run, by what was wrong.
    """

    before: list[Cell] = field(default_factory=list)
    finished: list[Result] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)
    refused: dict[str, list[Cell]] = field(default_factory=dict)


class Bench:
    """Trains every cell of a plan and keeps a result file for each.

    Killed at any moment, it loses no finished cell; the cell that was running resumes from its last checkpoint.
    Several processes may work in one folder: each cell is taken by one of them. On machines without a common folder,
    each takes a part of the cells (`shard`), and the files in `results/` are put together afterwards.

    Args:
        plan: What to run.
        folder: Folder of the results, `results/`, and of the runs, `runs/`.
        keep_weights: Keep the run folders of finished cells, with weights and figures.
        progress: Observer; None for none.

    Example:
        >>> from qcs.crossval import DataSource, Network
        >>> plan = Plan({"faces": DataSource("faces.npz")}, {"small": Network("base_small")}, repeats=4)
        >>> [cell.repeat for cell in Bench(plan, "bench").cells((2, 2))]
        [1, 3]
    """

    def __init__(
        self, plan: Plan, folder: str | Path, *, keep_weights: bool = False, progress: Progress | None = None
    ) -> None:
        self.plan, self.folder, self.keep_weights = plan, Path(folder), keep_weights
        self.progress = Progress() if progress is None else progress
        self._pools: dict[str, Pool] = {}
        self._unreadable: dict[str, str] = {}

    def cells(self, shard: tuple[int, int] = WHOLE) -> list[Cell]:
        """Return the cells of one shard: (3, 8) is the third of eight.

        Raises:
            InputError: If there is no such shard.
        """
        number, shards = shard
        if not 1 <= number <= shards:
            raise InputError(f"the shard is {number}/{shards}; expected from 1/{shards} to {shards}/{shards}")
        return list(self.plan.cells())[number - 1 :: shards]

    def run(self, shard: tuple[int, int] = WHOLE) -> Outcome:
        """Run the cells of a shard that have no result; one that cannot run does not end the others.

        Raises:
            InputError: If the folder has results of other settings, or several processes share one call.
            OSError: If a file cannot be written, as on a full disk. Nothing that was written before is lost.
        """
        if int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise InputError("a bench trains in one process; give each process its cells with a shard, such as 3/8")
        outcome, every = Outcome(), self.cells(shard)
        write_text(self.folder / PLAN, json.dumps(self._portable(), indent=1) + "\n")
        for cell in every:
            if result_path(self.folder, cell).exists():
                self._check(cell, read_result(result_path(self.folder, cell)))
                outcome.before.append(cell)
        for number, cell in enumerate(every, start=1):
            if cell in outcome.before:
                continue
            try:
                result = self.run_cell(cell)
            except InputError as error:
                if str(error) not in outcome.refused:
                    self.progress.say(f"{number}/{len(every)} {cell}: cannot run: {error}")
                outcome.refused.setdefault(str(error), []).append(cell)
                continue
            if result is None:
                outcome.elsewhere.append(cell)
                continue
            outcome.finished.append(result)
            self.progress.say(f"{number}/{len(every)} {cell}: {_summary(result)}")
        return outcome

    def run_cell(self, cell: Cell) -> Result | None:
        """Run one cell and return its result; None while another process runs it.

        A training that diverges has a result too, with the status `"failed"`.

        Raises:
            InputError: If the cell cannot run.
            OSError: If a file cannot be written.
        """
        runs = self.folder / "runs"
        with writing(runs):
            runs.mkdir(parents=True, exist_ok=True)
        lock = FileLock(runs / f".{cell.name}.lock", timeout=0)
        try:
            with lock:
                path = result_path(self.folder, cell)
                return read_result(path) if path.exists() else self._measured(cell, runs / cell.name)
        except Timeout:
            return None

    def _measured(self, cell: Cell, run: Path) -> Result:
        pool = self._pool(cell.data)
        split = split_of(cell, pool)
        config = self.plan.config(cell.network, cell.data, cell.repeat, str(run))
        record = {
            "settings": of_settings(config),
            "seed": config.seed,
            "data": of_data(pool, split, cell.protocol),
            "environment": environment(config),
        }
        images = {name: pool.images.subset(part) for name, part in split._asdict().items()}
        try:
            record |= of_run(trained(config, images, _Epochs(self.progress)), config)
        except DivergedError as error:
            record |= {"status": "failed", "error": str(error)}
        result = write_result(self.folder, cell, record)
        if result.failed or not self.keep_weights:
            remove_run(run)
        return result

    def _pool(self, name: str) -> Pool:
        """The images of a data set, read once; data that cannot be read are not read again."""
        if name in self._unreadable:
            raise InputError(self._unreadable[name])
        if name not in self._pools:
            source = vars(self.plan.data[name])
            self.progress.say(f"reading {name}: {source['path']}")
            try:
                self._pools[name] = read_pool(**source)
            except InputError as error:
                self._unreadable[name] = str(error)
                raise
            for remark in self._pools[name].about["remarks"]:
                self.progress.say(f"{name}: {remark}")
        return self._pools[name]

    def _check(self, cell: Cell, result: Result) -> None:
        """Check that a result is of the settings of the plan."""
        now, then = of_settings(self.plan.config(cell.network, cell.data, cell.repeat)), result.settings
        if differing := [name for name in {**now, **then} if _plain(now.get(name)) != _plain(then.get(name))]:
            raise InputError(
                f"{result_path(self.folder, cell)} has other settings than the plan: {', '.join(differing)}; choose "
                "another folder for the changed plan"
            )

    def _portable(self) -> dict[str, object]:
        """The plan for a file; its paths are absolute, since paths in a plan start from its folder."""
        plan = self.plan.to_dict()
        for source in plan["data"].values():
            source |= {key: os.path.abspath(source[key]) for key in ("path", "image_root") if source[key] is not None}
        return plan


class _Epochs(Progress):
    """Passes on the epochs of a training, not its lines of text, of which a bench has its own."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start_epoch(self, epoch: int, epochs: int, batches: int, done: int) -> None:
        self._progress.start_epoch(epoch, epochs, batches, done)

    def step(self, batches: int, means: Mapping[str, float], left: TimeLeft) -> None:
        self._progress.step(batches, means, left)

    def end_epoch(self, epochs: int, record: Mapping[str, float], best: bool) -> None:
        self._progress.end_epoch(epochs, record, best)


def _plain(value: object) -> object:
    return json.loads(json.dumps(value))


def _summary(result: Result) -> str:
    if result.failed:
        return f"failed: {result.record['error']}"
    accuracy, balanced = (result.measure(name) for name in ("accuracy", "balanced_accuracy"))
    return f"accuracy {accuracy:.2%}, balanced {balanced:.2%}, weights of epoch {result.record['best_epoch']}"
