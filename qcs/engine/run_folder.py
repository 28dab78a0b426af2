"""Read and write the folder of a training run; each file appears complete or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from qcs.engine.evaluation import Evaluation
from qcs.errors import InputError
from qcs.files import sweep, write_text, writing
from qcs.models.weights import BEST

CONFIG, METRICS = "config.json", "metrics.json"
OWN = (CONFIG, METRICS, "tensorboard", "checkpoints", BEST, "last.safetensors")
LOCK = ".lock"


class RunFolder:
    """Read and write the files of one training run.

    `config.json` (all settings), `metrics.json` (one record per epoch), `tensorboard/`, `checkpoints/` (until the run
    is finished), `best.safetensors` (best on the validation images), `last.safetensors`, `validation.json` and
    `test.json` (evaluation of the best weights), `test_predictions.npz` (probabilities of each test image), figures.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.best = self.path / BEST
        self.last = self.path / "last.safetensors"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"

    @property
    def started(self) -> bool:
        """Whether a run has written its settings here."""
        return (self.path / CONFIG).exists()

    @property
    def finished(self) -> bool:
        """Whether the run has evaluated its best weights."""
        return self.has_evaluation("validation")

    @property
    def has_history(self) -> bool:
        """Whether the run has finished an epoch."""
        return (self.path / METRICS).exists()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one run at a time, and remove what a killed run left half written.

        The operating system frees the lock whatever ends the process, so a file that a killed process left locks
        nothing. A folder that is empty at the end is removed.

        Raises:
            InputError: If another run holds the folder.
            OSError: If the folder cannot be created or written.
        """
        lock = FileLock(self.path / LOCK, timeout=0)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise InputError(
                    f"{self.path} is in use by another run that is still training; wait until it ends, or choose "
                    "another output folder"
                ) from error
        try:
            sweep(self.path)  # nothing else writes here while this process holds the lock
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows does not remove an open file; the release does it there
                (self.path / LOCK).unlink()
            lock.release()
            with contextlib.suppress(OSError):  # not empty, or gone
                self.path.rmdir()

    def create(self) -> None:
        """Create the folder; check that it is writable and holds no other run.

        Raises:
            InputError: If the folder holds a run.
            OSError: If the folder cannot be created or written.
        """
        if any((self.path / name).exists() for name in OWN):
            raise InputError(f"{self.path} already holds a run; choose another output folder{self._advice()}")
        probe = self.path / ".write-test"
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()

    def _advice(self) -> str:
        """What else can be done with a folder that holds a run."""
        if any(self.checkpoints.glob("step-*")) and self.started:
            return f", or go on with it: qcs train --resume {self.path}"
        return "" if self.finished else ", or remove this one: its run has no checkpoint to go on from"

    def discard(self) -> None:
        """Remove the files of a run that ended before it had weights; other files in the folder stay."""
        for name in OWN:  # none of them existed when the run began
            if (self.path / name).is_dir():
                shutil.rmtree(self.path / name, ignore_errors=True)
            else:
                (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty, or never made
            self.path.rmdir()

    def read_config(self) -> dict[str, Any]:
        """Return what the run started with: its settings under "config", its images per class under "images".

        Raises:
            InputError: If the folder holds no run.
        """
        path = self.path / CONFIG
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            counts = [count for images in record["images"].values() for count in images.values()]
            if isinstance(record["config"], dict) and "train" in record["images"] and all(map(_is_count, counts)):
                return dict(record)
        except FileNotFoundError as error:
            raise InputError(f"{self.path} is not a run folder: it has no {path.name}") from error
        except (AttributeError, ValueError, KeyError, TypeError):
            pass
        raise InputError(f"{path} does not hold the settings of a run")

    def write_config(self, record: Mapping[str, Any]) -> None:
        """Write what the run starts with, see `read_config`."""
        self.write_json(CONFIG, record)

    def read_history(self) -> list[dict[str, float]]:
        """Return one record per epoch.

        Raises:
            InputError: If the file is missing or corrupt.
        """
        history = self._read_json(METRICS)
        try:
            if history and all(isinstance(value, int | float) for record in history for value in record.values()):
                return [dict(record) for record in history if record["epoch"] >= 1]
        except (AttributeError, KeyError, TypeError):
            pass
        raise InputError(f"{self.path / METRICS} was not written by a run: expected one record per epoch")

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write one record per epoch."""
        self.write_json(METRICS, history)

    def has_evaluation(self, split: str) -> bool:
        """Whether there is an evaluation of the best weights on a split."""
        return (self.path / f"{split}.json").exists()

    def read_evaluation(self, split: str) -> Evaluation:
        """Return the evaluation of the best weights on `"validation"` or `"test"` images.

        Raises:
            InputError: If the file is missing or corrupt.
        """
        record = self._read_json(f"{split}.json")
        try:
            return Evaluation.from_dict(record)
        except InputError as error:
            raise InputError(f"{self.path / split}.json was not written by a run: {error}") from error

    def write_evaluation(self, split: str, evaluation: Evaluation, best_epoch: int) -> None:
        """Write the evaluation of the weights of `best_epoch` on a split."""
        self.write_json(f"{split}.json", {"best_epoch": best_epoch, **evaluation.to_dict()})

    def _read_json(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"there is no {path}: the run has not reached that point") from error
        except ValueError as error:
            raise InputError(f"{path} is corrupt: {error}") from error

    def write_json(self, name: str, content: Any) -> Path:
        """Write `name` as JSON, complete or not at all."""
        return write_text(self.path / name, json.dumps(content, indent=2, allow_nan=False) + "\n")


def best_of(history: Sequence[dict[str, float]], measure: Literal["accuracy", "loss"]) -> dict[str, float]:
    """Return the record of the first epoch with the highest validation accuracy, or the lowest validation loss.

    Example:
        >>> history = [{"epoch": 1, "validation_loss": 0.4}, {"epoch": 2, "validation_loss": 0.3}]
        >>> best_of(history, "loss")["epoch"]
        2
    """
    if measure == "loss":
        return min(history, key=lambda record: record.get("validation_loss", math.inf))
    return max(history, key=lambda record: record.get("validation_accuracy", 0.0))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0
