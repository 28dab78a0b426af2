"""Train a network: run the epochs, choose the best weights on validation images, evaluate them, resume exactly.

A run writes checkpoints as it goes; an interrupted run resumes from the newest one and ends with the same weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate.utils import broadcast_object_list, gather_object, set_seed

from qcs.data.dataset import LabeledImages
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.prediction_file import FILE as PREDICTIONS
from qcs.engine.prediction_file import Predictions
from qcs.engine.run_folder import RunFolder, best_of
from qcs.engine.training.checkpoints import Checkpoints
from qcs.engine.training.clock import Clock
from qcs.engine.training.components import build_components
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.data import in_groups
from qcs.engine.training.gathering import in_order
from qcs.engine.training.hardware import explain_out_of_memory
from qcs.engine.training.loader_processes import LostWorkerError, explain_lost_worker
from qcs.engine.training.meters import AverageMeter
from qcs.engine.training.objective import EpochObjective, end_epoch
from qcs.engine.training.optimizer import learning_rate, set_learning_rate
from qcs.engine.training.progress import Progress
from qcs.engine.training.results import (
    cut_short,
    introduction,
    other_machine,
    save_epoch,
    share_done,
    start_log,
    started_with,
    write_results,
)
from qcs.engine.training.resuming import check_unchanged, restore, training_state
from qcs.engine.training.stopping import Stopped, StopSignals
from qcs.errors import InputError
from qcs.models import load_model
from qcs.models.weights import read_config

T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """Result of a training run.

    Attributes:
        folder: The run folder.
        history: One record per epoch.
        best_epoch: Epoch (from 1) whose weights are the best on the validation images, see `TrainConfig.select_on`.
        validation: Evaluation of these weights on the validation images.
        test: Evaluation of these weights on the test images; None without test images.
    """

    folder: Path
    history: list[dict[str, float]]
    best_epoch: int
    validation: Evaluation
    test: Evaluation | None


def train(
    config: TrainConfig, splits: Mapping[str, LabeledImages] | None = None, progress: Progress | None = None
) -> RunResult:
    """Train a network and write it to a run folder, which one run at a time holds.

    In the main thread, SIGINT and SIGTERM end the run after the current step, with a checkpoint, and raise
    `KeyboardInterrupt`; a second signal ends it at once. Handlers of your own stay in place.

    Args:
        config: All settings.
        splits: Images in memory, by split, instead of `config.data`.
        progress: Observer of the run; None for none.

    Returns:
        The result; the weights are in its folder.

    Raises:
        InputError: If settings and data do not fit one another, the run folder is in use, or the loss becomes infinite
            or NaN.
        OSError: If the run folder cannot be written.
    """
    return _Training(config, splits, progress).run()


def resume(
    folder: str | Path, splits: Mapping[str, LabeledImages] | None = None, progress: Progress | None = None
) -> RunResult:
    """Resume an interrupted run from its newest checkpoint, with its own settings.

    On the same machine and with as many processes, the result equals that of an uninterrupted run bit by bit, unless
    the run has a time budget (`minutes`).

    Args:
        folder: The run folder.
        splits: The images in memory that the run was started with, if it was.
        progress: Observer of the run; None for none.

    Returns:
        The result of the whole run.

    Raises:
        InputError: If there is nothing to resume, another process resumes it, or data, settings or teachers are not
            those that the run started with.
    """
    run = RunFolder(folder)
    if run.finished and not Checkpoints(run.checkpoints):
        raise InputError(f"{folder} is a finished run: there is nothing to resume")
    record = run.read_config()
    config = TrainConfig.from_dict(record["config"])
    # The weights come from the checkpoint, so those that the run was initialized with may be gone.
    config = dataclasses.replace(config, output=str(folder), init=None, pretrained_backbone=False)
    return _Training(config, splits, progress, resumed=record).run()


class _Training:
    """One run; the methods are in the order in which they are called."""

    def __init__(
        self,
        config: TrainConfig,
        splits: Mapping[str, LabeledImages] | None,
        progress: Progress | None,
        resumed: Mapping[str, Any] | None = None,  # what the run started with, see `started_with`
    ) -> None:
        self.parts = build_components(config, splits, resumed)
        self.config, self.accelerator = self.parts.config, self.parts.accelerator
        self.is_main = self.accelerator.is_main_process
        self.progress = progress if progress is not None and self.is_main else Progress()
        stamp = [datetime.now().strftime("%Y%m%d-%H%M%S")]
        self.folder = RunFolder(config.folder(broadcast_object_list(stamp)[0]))  # the same in all processes
        self.checkpoints = Checkpoints(self.folder.checkpoints)
        self.validation = self.parts.to_evaluate(self.parts.data.validation)
        self.clock = Clock(self.config, self.accelerator)
        self.history: list[dict[str, float]] = []
        self.means = AverageMeter()
        self.epochs_done = 0.0
        self.first_batch = 0  # of the next epoch; above 0 in the epoch that a run resumes in
        self.resumed = resumed is not None
        self.began = resumed if resumed is not None else started_with(self.parts)
        self.stop = StopSignals()

    def run(self) -> RunResult:
        with self.stop, self.folder.locked() if self.is_main else contextlib.nullcontext():
            if self.is_main and not self.resumed:
                self.folder.create()
            try:
                with explain_out_of_memory(), explain_lost_worker():
                    set_seed(self.config.seed, device_specific=True)  # dropout differs between processes
                    if self.resumed:
                        self._restore()
                    self._introduce()
                    self._run_epochs()
            except BaseException as error:  # including an interrupt from the keyboard
                self._stop_early()
                # A signal to the whole group of processes ends the loader processes too; that is its effect, no error.
                if self.stop.received and isinstance(error, LostWorkerError):
                    raise Stopped(self.stop.received) from error
                raise
            try:
                return self._finish()
            except KeyboardInterrupt:
                self._stop_early()
                raise

    def _restore(self) -> None:
        parts = self.parts
        self.checkpoints.sweep()
        if self.folder.finished and not self.checkpoints:  # by another process, before this one held the folder
            raise InputError(f"{self.folder.path} is a finished run: there is nothing to resume")
        state = self.checkpoints.load_newest(self.progress.say)
        check_unchanged(self.folder, state["settings"], self.began["config"])
        self.first_batch = restore(
            state, parts.step, parts.model, parts.sampler, self.accelerator, seed=self.config.seed
        )
        self.means.load_state_dict(state["means"], self.accelerator)
        self.history, self.clock.before = state["history"], state["seconds"]
        self.epochs_done = len(self.history) + self.first_batch / len(parts.batches)
        self.progress.say(f"resumed after {parts.step.taken:,} steps, in epoch {len(self.history) + 1}")
        if line := other_machine(self.began, parts):
            self.progress.say(line)

    def _introduce(self) -> None:
        if not self.is_main:
            return
        if not self.resumed:
            self.folder.write_config(self.began)
        for line in introduction(self.parts, self.folder):
            self.progress.say(line)
        # An epoch that ended in the checkpoint may not have been logged: `_run_epochs` logs it again.
        logged = len(self.history) - (self.first_batch == 0)
        start_log(self.accelerator, self.folder, logged if self.resumed else None)

    def _run_epochs(self) -> None:
        self.clock.start()
        if self.history and self.first_batch == 0:  # resumed at the end of an epoch, perhaps before it was saved
            self._save_epoch()
        while not self._done():
            with self.stop.deferred():
                record = self._run_epoch(len(self.history) + 1)
                self.history.append(record)
                self._save_checkpoint(batches=0)
                self._save_epoch()
            self.progress.end_epoch(self.config.epochs, record, record is self._best())
            if stopped := self._from_main(self.stop.received):
                raise Stopped(stopped)

    def _done(self) -> bool:
        """Whether the epochs are over, the time is up, or early stopping applies."""
        patience = self.config.patience
        if not self.history:
            return False
        waited = len(self.history) - best_of(self.history, self.config.patience_on)["epoch"]
        return self.clock.progress(len(self.history)) >= 1 or (patience is not None and waited >= patience)

    def _best(self) -> dict[str, float]:
        """The record of the epoch whose weights are kept."""
        return best_of(self.history, self.config.select_on)

    def _run_epoch(self, epoch: int) -> dict[str, float]:
        parts, step = self.parts, self.parts.step
        parts.sampler.set_epoch(epoch)
        batches, done, started, images = len(parts.batches), self.first_batch, time.perf_counter(), 0
        self.progress.start_epoch(epoch, self.config.epochs, batches, done)
        step.network.train()
        for group in in_groups(parts.training_batches(), self.config.accumulate):
            epochs_done = epoch - 1 + done / batches
            progress = self.clock.progress(epochs_done)
            set_learning_rate(step.optimizer, self.config.learning_rate(epochs_done, progress, step.taken))
            self.means.add(step(group), sum(labels.shape[1] for _, labels in group))
            done, images = done + len(group), images + sum(labels.shape[:2].numel() for _, labels in group)
            self.epochs_done = epoch - 1 + done / batches
            left = self.clock.left(max(progress, self.epochs_done / self.config.epochs))
            self.progress.step(len(group), self.means.values(), left)
            due, stopped = self._from_main((self.clock.checkpoint_is_due(), self.stop.received))
            if due or stopped:
                self._save_checkpoint(done)
            if stopped:
                raise Stopped(stopped)
            if progress >= 1:  # time is up; checked after a step, so that every epoch has one to record
                break
        seconds = time.perf_counter() - started
        parts.share_buffers()
        self._end_epoch_of_objective(epoch)
        means, self.means, self.first_batch = self.means.values(self.accelerator), AverageMeter(), 0
        evaluation = evaluate(parts.evaluated, self.validation, parts.model.class_names, self.accelerator.device)
        return {
            "epoch": epoch,
            **{f"train_{name}": value for name, value in means.items()},
            "validation_accuracy": evaluation.accuracy,
            "validation_balanced_accuracy": evaluation.balanced_accuracy,
            "validation_loss": evaluation.loss,
            "learning_rate": learning_rate(step.optimizer),
            "images_per_second": images * self.accelerator.num_processes / max(seconds, 1e-9),
            "seconds": self.clock.seconds(),
        }

    def _end_epoch_of_objective(self, epoch: int) -> None:
        """Update an objective that learns from whole epochs, on an epoch of training images drawn for it alone."""
        parts = self.parts
        if isinstance(parts.step.loss, EpochObjective):
            parts.sampler.set_epoch(self.config.epochs + epoch)
            end_epoch(parts.step.loss, parts.model, parts.training_batches(), self.accelerator, parts.step.autocast())

    def _from_main(self, value: T) -> T:
        """The value of the main process, in all processes."""
        values = [value]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(values)
        return values[0]

    def _save_checkpoint(self, batches: int) -> None:
        """Save what a resumed run needs, after `batches` batches of the next epoch."""
        self.parts.share_buffers()
        state = training_state(self.parts.step, self.parts.model, self.parts.sampler, batches, self.accelerator)
        state["means"] = gather_object([self.means.state_dict()])
        if self.is_main:
            if not self.folder.started:
                raise OSError(f"the run folder {self.folder.path} was removed or renamed while the run wrote to it")
            state |= {"history": self.history, "seconds": self.clock.seconds(), "settings": self.began["config"]}
            self.checkpoints.save(self.parts.step.taken, state)
        self.clock.checkpoint_saved()

    def _save_epoch(self) -> None:
        save_epoch(self.parts, self.folder, self.history, best=self.history[-1] is self._best())

    def _stop_early(self) -> None:
        """Leave a folder that can be resumed, or none."""
        if not self.is_main:
            return
        if self.checkpoints and self.folder.started:
            done = f"{self.folder.path} holds the weights of the finished epochs; " if self.folder.last.exists() else ""
            share = share_done(self.epochs_done, self.config.epochs)
            self.progress.say(f"stopped after {share}; {done}resume with: qcs train --resume {self.folder.path}")
        elif not self.resumed:
            self.folder.discard()

    def _finish(self) -> RunResult:
        best_epoch = int(self._best()["epoch"])
        self.accelerator.wait_for_everyone()
        if (kept := read_config(self.folder.best)["info"].get("epoch")) != best_epoch:
            raise InputError(
                f"{self.folder.best} holds the weights of epoch {kept}, the best is {best_epoch}: that epoch was lost "
                "with a corrupt checkpoint and came out differently; start the run again"
            )
        results = self._evaluate_best()
        if self.is_main:
            for line in write_results(self.folder, self.config.model, self.history, best_epoch, results):
                self.progress.say(line)
            if ending := cut_short(self.config, self.epochs_done, self.clock.seconds()):
                self.progress.say(ending)
            self.checkpoints.discard()
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return RunResult(self.folder.path, self.history, best_epoch, results["validation"], results.get("test"))

    def _evaluate_best(self) -> dict[str, Evaluation]:
        """Evaluate the best weights by split; the test images are used only here."""
        device, test = self.accelerator.device, self.parts.data.test
        model = load_model(self.folder.best).to(device)
        results = {"validation": evaluate(model, self.validation, model.class_names, device)}
        if test is not None:
            logits: list[torch.Tensor] = []
            results["test"] = evaluate(model, self.parts.to_evaluate(test), model.class_names, device, logits)
            predictions = Predictions.of(test, in_order(logits))
            if self.is_main:
                predictions.save(self.folder.path / PREDICTIONS)
        return results
