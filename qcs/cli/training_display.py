"""Show a training on the terminal: a live bar per epoch, a line per finished epoch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from qcs.engine.training.progress import Progress, TimeLeft
from qcs.escaping import printable


class TrainingDisplay(Progress):
    """Progress of a training: live on a terminal, plain lines elsewhere; a context that ends the live bar.

    Args:
        console: Console to print to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[now]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", now="", left="")
        self._left = ""

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def start_epoch(self, epoch: int, epochs: int, batches: int, done: int) -> None:
        """Start a bar, `done` of its batches filled."""
        self._bar.start()  # in the main process alone; a second start does nothing
        self._bar.reset(self._task, total=batches, completed=done, description=f"epoch {epoch}/{epochs}", now="")

    def step(self, batches: int, means: Mapping[str, float], left: TimeLeft) -> None:
        """Advance the bar; show the time left of the whole run and the means of the epoch so far."""
        self._left = time_left(left)
        self._bar.update(self._task, advance=batches, now=_training(means, ""), left=self._left)

    def end_epoch(self, epochs: int, record: Mapping[str, float], best: bool) -> None:
        """Print the line of an epoch."""
        self.console.print(
            f"epoch {record['epoch']:>3.0f}/{epochs}  {_training(record, 'train_')}  "
            f"validation {record['validation_accuracy']:.2%} (balanced {record['validation_balanced_accuracy']:.2%})  "
            f"{record['images_per_second']:.0f} images/s  "
            f"{self._left}{'  [bold]best[/bold]' if best else ''}",
            highlight=False,
            soft_wrap=True,
        )


def time_left(left: TimeLeft) -> str:
    """Return the time left of a run as text.

    Example:
        >>> time_left(TimeLeft(3723.0)), time_left(TimeLeft(50.0, budget=60.0))
        ('ETA 1:02:03', 'ETA 0:00:50, 0:01:00 of the budget left')
    """
    estimate = f"ETA {timedelta(seconds=round(left.estimate))}"
    if left.budget is None:
        return estimate
    return f"{estimate}, {timedelta(seconds=round(left.budget))} of the budget left"


def _training(means: Mapping[str, float], prefix: str) -> str:
    """Losses and accuracies in training: of the base and cross classifiers, or of a network with its own objective."""
    parts = []
    for classifier in ("base", "cross", ""):
        start = f"{prefix}{classifier}_" if classifier else prefix
        loss, accuracy = means.get(f"{start}loss"), means.get(f"{start}accuracy")
        if loss is not None and accuracy is not None:
            parts.append(f"{classifier or 'training'} {loss:.3f} {accuracy:.1%}")
    return "  ".join(parts)
