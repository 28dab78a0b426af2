"""What a training run shows while it runs: a live line per step, a line per epoch."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingDisplay:
    """Live progress on a terminal, plain lines elsewhere.

    Args:
        console: Where to print.
        epochs: Epochs at most.
    """

    def __init__(self, console: Console, epochs: int) -> None:
        self.console, self.epochs = console, epochs
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[now]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", now="")

    def __enter__(self) -> TrainingDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start_epoch(self, epoch: int, batches: int, done: int) -> None:
        """A new bar, `done` of its batches trained on before."""
        description = f"epoch {epoch}/{self.epochs}"
        self._progress.reset(self._task, total=batches, completed=done, description=description, now="")

    def step(self, batches: int, means: Mapping[str, float]) -> None:
        """One step done; `means` are the epoch's so far."""
        self._progress.update(self._task, advance=batches, now=_training(means, ""))

    def epoch(self, record: Mapping[str, float], best: bool) -> None:
        """One epoch done."""
        self.console.print(
            f"epoch {record['epoch']:>3.0f}/{self.epochs}  {_training(record, 'train_')}  "
            f"validation {record['validation_accuracy']:.2%} (balanced {record['validation_balanced_accuracy']:.2%})  "
            f"{record['images_per_second']:.0f} images/s{'  [bold]best[/bold]' if best else ''}",
            highlight=False,
            soft_wrap=True,
        )


def _training(means: Mapping[str, float], prefix: str) -> str:
    """Losses and accuracies of base and cross classifiers in training."""
    parts = []
    for classifier in ("base", "cross"):
        loss, accuracy = means.get(f"{prefix}{classifier}_loss"), means.get(f"{prefix}{classifier}_accuracy")
        if loss is not None and accuracy is not None:
            parts.append(f"{classifier} {loss:.3f} {accuracy:.1%}")
    return "  ".join(parts)
