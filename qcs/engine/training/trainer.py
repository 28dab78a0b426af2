"""Training a network: the loop, the choice of the best weights, and what is left in the run folder.

A run writes checkpoints as it goes; one that was killed goes on from the last of them as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, broadcast_object_list, gather_object, set_seed
from rich.console import Console
from timm.data import resolve_model_data_config
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from timm.utils import ModelEmaV3

from qcs.cli.training_display import TrainingDisplay
from qcs.data.dataset import LabeledImages
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.prediction_file import FILE as PREDICTIONS
from qcs.engine.prediction_file import Predictions, in_order
from qcs.engine.run_folder import RunFolder
from qcs.engine.training.build import build_model
from qcs.engine.training.checkpoints import Checkpoints
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.data import (
    Batches,
    batches_to_evaluate,
    batches_to_train,
    branch_sampler,
    in_groups,
    sources,
    with_crop,
)
from qcs.engine.training.hardware import check_compiler, keep_freed_memory, native_precision, use_plain_attention
from qcs.engine.training.meters import RunningMeans
from qcs.engine.training.results import beginning, introduction, write_results
from qcs.engine.training.resuming import restore, training_state
from qcs.engine.training.sam import SAM
from qcs.engine.training.step import Batch, TrainingStep
from qcs.engine.training.teachers import Teachers
from qcs.errors import InputError
from qcs.files import writing
from qcs.losses import JointLoss
from qcs.models import CrossSimilarityNetwork, load_model, save_model
from qcs.models.weights import read_config


@dataclass(frozen=True)
class RunResult:
    """What a training run came to.

    Attributes:
        folder: The run folder.
        history: A record per epoch.
        best_epoch: Epoch (from 1) whose weights were chosen on validation images.
        validation: Evaluation of those weights on the validation images.
        test: Their evaluation on the test images, where there are any.
    """

    folder: Path
    history: list[dict[str, float]]
    best_epoch: int
    validation: Evaluation
    test: Evaluation | None


def train(
    config: TrainConfig, splits: Mapping[str, LabeledImages] | None = None, console: Console | None = None
) -> RunResult:
    """Train a network and leave it in a run folder.

    On a CPU the process keeps the memory it frees from then on, see `keep_freed_memory`.

    Args:
        config: Every setting.
        splits: Images in memory, by split, in place of `config.data`.
        console: Where to show progress; None for nowhere.

    Returns:
        The result; its weights are in the folder.

    Raises:
        InputError: If settings or data do not go together, or the loss stops being finite.
        OSError: If the run folder cannot be written.
    """
    return _Training(config, splits, console or Console(quiet=True)).run()


def resume(
    folder: str | Path, splits: Mapping[str, LabeledImages] | None = None, console: Console | None = None
) -> RunResult:
    """Go on with a run that was interrupted, from its last checkpoint and with its own settings.

    On the same machine and with as many processes, the result is that of a run never interrupted, to the last bit;
    only a time budget (`minutes`) makes runs differ.

    Args:
        folder: The run folder.
        splits: The images in memory that the run was started with, if it was.
        console: Where to show progress; None for nowhere.

    Returns:
        The result of the whole run.

    Raises:
        InputError: If there is nothing to resume, or the data is not what the run was started with.
    """
    run = RunFolder(folder)
    if run.finished and not Checkpoints(run.checkpoints):
        raise InputError(f"{folder} is a finished run: there is nothing to resume")
    record = run.read_config()
    config = TrainConfig.from_record(record["config"])
    # The weights come from the checkpoint, not from where the run had its first ones.
    config = dataclasses.replace(config, output=str(folder), init=None, pretrained_backbone=False)
    return _Training(config, splits, console or Console(quiet=True), resume=record).run()


class _Training:
    """One run; the methods are its steps in the order they happen."""

    def __init__(
        self,
        config: TrainConfig,
        splits: Mapping[str, LabeledImages] | None,
        console: Console,
        resume: Mapping[str, Any] | None = None,  # what the run said of itself when it began, see `beginning`
    ) -> None:
        # Accelerate's own mixed precision can be chosen only once per process.
        self.accelerator = Accelerator(
            mixed_precision="no", cpu=not torch.accelerator.is_available(), log_with="tensorboard", project_dir="."
        )
        if config.compile:
            check_compiler()
        self.precision = native_precision() if config.precision == "auto" else config.precision
        self.console = console if self.accelerator.is_main_process else Console(quiet=True)
        set_seed(config.seed)
        data = sources(config, splits)
        config = self.config = with_crop(config, data.train)
        self.model, self.data = build_model(config, data)
        if resume is not None:
            self._keep_data(resume["images"])
        stamp = [datetime.now().strftime("%Y%m%d-%H%M%S")]
        self.folder = RunFolder(config.folder(broadcast_object_list(stamp)[0]))  # the same for all processes
        self.checkpoints = Checkpoints(self.folder.checkpoints)
        self._data_config = resolve_model_data_config(self.model)
        images = self.data.train
        self.sampler = branch_sampler(config, images, self.model.branches, self.accelerator)
        self.batches = batches_to_train(config, images, self.sampler, self._data_config, self.accelerator)
        self.validation = self._to_evaluate(self.data.validation)
        if self.accelerator.device.type == "cpu":
            keep_freed_memory()
            use_plain_attention(self.model)
        self.teachers = self._teachers(resume) if config.teachers else None
        self.network = self.accelerator.prepare_model(self.model.to(memory_format=torch.channels_last))
        self.ema = ModelEmaV3(self.model, decay=config.ema, use_warmup=True) if config.ema else None
        adam = torch.optim.AdamW(self._parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
        self.take_step = TrainingStep(
            # Only the step's own calls are compiled: evaluation has other shapes.
            cast(torch.nn.Module, torch.compile(self.network)) if config.compile else self.network,
            SAM(adam, config.sam_rho),
            self._loss(),
            self.accelerator,
            bf16=self.precision == "bf16",
            clip_grad=config.clip_grad,
            ema=self.ema,
        )
        self.history: list[dict[str, float]] = []
        self.means = RunningMeans()
        self.first_batch = 0  # of the next epoch; above 0 in the epoch that a run resumes in
        self._before = 0.0  # seconds that the run took before it was interrupted
        self.resumed = resume is not None

    def _keep_data(self, began_with: Mapping[str, Mapping[str, int]]) -> None:
        """The classes in the order that the run began with, and the same number of images of each."""
        classes = tuple(began_with["train"])
        if sorted(classes) == sorted(self.data.train.classes):
            self.data = self.data.with_classes(classes)
            self.model.name_classes(classes)
        found = self.data.summary()
        if found != began_with:
            raise InputError(f"the data changed since the run began: it has {found} images, then {dict(began_with)}")

    def _teachers(self, began_with: Mapping[str, Any] | None) -> Teachers:
        """The teachers; those that the run began with, for others would teach it something else from here on."""
        config, device, bf16 = self.config, self.accelerator.device, self.precision == "bf16"
        teachers = Teachers(config.teachers, config.teacher_share, self.model, device=device, bf16=bf16)
        known = teachers.hashes if began_with is None else began_with.get("teachers", {})
        if changed := [source for source, found in teachers.hashes.items() if known.get(source) != found]:
            raise InputError(
                f"other weights than the run began with are now at {', '.join(changed)}, its teachers; put those back "
                "or start a new run"
            )
        return teachers

    @property
    def evaluated(self) -> CrossSimilarityNetwork:
        """The network that is evaluated and kept: of averaged weights, if there are any."""
        return self.model if self.ema is None else cast(CrossSimilarityNetwork, self.ema.module)

    def run(self) -> RunResult:
        """Train, choose, test, write."""
        if self.accelerator.is_main_process and not self.resumed:
            self.folder.create()
        try:
            with _out_of_memory(self.config):
                set_seed(self.config.seed, device_specific=True)  # dropout differs between processes
                if self.resumed:
                    self._restore()
                self._introduce()
                self._run_epochs()
        except BaseException:  # also an interrupt from the keyboard
            self._stop_early()
            raise
        return self._finish()

    def _parameters(self) -> Any:
        """What is trained, in groups where the learning rate differs by layer."""
        decay, exempt = self.config.weight_decay, self.model.no_weight_decay()
        if self.config.layer_decay != 1:
            return param_groups_layer_decay(self.model, decay, exempt, layer_decay=self.config.layer_decay)
        if decay:
            return param_groups_weight_decay(self.model, decay, exempt)
        return [p for p in self.network.parameters() if p.requires_grad]

    def _run_epochs(self) -> None:
        self._started = self._saved = time.perf_counter()
        if self.history and self.first_batch == 0:  # resumed at an epoch's end, perhaps before it was written
            self._save_epoch()
        with TrainingDisplay(self.console, self.config.epochs) as display:
            while not self._done():
                record = self._run_epoch(len(self.history) + 1, display)
                self.history.append(record)
                self._save_checkpoint(batches=0)
                self._save_epoch()
                display.epoch(record, record is self._best())

    def _done(self) -> bool:
        """Whether the epochs are over, the time is up, or validation has long stopped improving."""
        patience = self.config.patience
        if not self.history:
            return False
        waited = len(self.history) - self._best()["epoch"]
        return self._progress(len(self.history)) >= 1 or (patience is not None and waited >= patience)

    def _best(self) -> dict[str, float]:
        """The record of the first epoch with the highest validation accuracy."""
        return max(self.history, key=lambda record: record["validation_accuracy"])

    def _save_checkpoint(self, batches: int) -> None:
        """Keep what a resumed run needs, `batches` of the next epoch done."""
        self._share_buffers()
        state = training_state(self.take_step, self.model, self.sampler, batches, self.accelerator)
        state["means"] = gather_object([self.means.state_dict()])
        if self.accelerator.is_main_process:
            state |= {"history": self.history, "seconds": self._seconds()}
            self.checkpoints.save(self.take_step.taken, state)
        self._saved = time.perf_counter()

    def _restore(self) -> None:
        state = self.checkpoints.load_newest(self._say)
        self.first_batch = restore(
            state, self.take_step, self.model, self.sampler, self.accelerator, seed=self.config.seed
        )
        self.means.load_state_dict(state["means"], self.accelerator)
        self.history, self._before = state["history"], state["seconds"]
        self._say(f"resumed after {self.take_step.taken:,} steps, in epoch {len(self.history) + 1}")

    def _stop_early(self) -> None:
        """Leave a folder with something to go on from, or none."""
        if not self.accelerator.is_main_process:
            return
        if self.checkpoints:
            done = f"{self.folder.path} holds the weights of the finished epochs; " if self.folder.last.exists() else ""
            self._say(f"stopped early; {done}go on with: qcs train --resume {self.folder.path}")
        elif not self.resumed:
            self.folder.discard()

    def _introduce(self) -> None:
        """Say and write down what this run is."""
        if not self.accelerator.is_main_process:
            return
        if not self.resumed:
            processes = self.accelerator.num_processes
            hashes = self.teachers.hashes if self.teachers else {}
            record = beginning(
                self.config, self.model, self.data, hashes, precision=self.precision, processes=processes
            )
            self.folder.write_config(record)
        for line in introduction(self.config, self.model, self.data, self.folder):
            self._say(line)
        self.accelerator.project_configuration.logging_dir = str(self.folder.path)
        with writing(self.folder.tensorboard):
            # What the interrupted run logged of epochs that are now run again is not shown twice.
            logged = len(self.history) - (self.first_batch == 0)
            purge = {"purge_step": logged + 1} if self.resumed else {}
            self.accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": purge})

    def _loss(self) -> JointLoss:
        weights = None
        if self.config.class_weights == "inverse":
            counts = torch.tensor(list(self.data.train.class_counts().values()), dtype=torch.float32)
            weights = counts.sum() / (counts.clamp_min(1) * (counts > 0).sum())
        loss = JointLoss(self.config.distillation, label_smoothing=self.config.label_smoothing, class_weights=weights)
        return loss.to(self.accelerator.device)

    def _to_evaluate(self, images: LabeledImages) -> Batches:
        return batches_to_evaluate(self.config, images, self._data_config, self.accelerator)

    def _run_epoch(self, epoch: int, display: TrainingDisplay) -> dict[str, float]:
        self.sampler.set_epoch(epoch)
        batches, done, started, images = len(self.batches), self.first_batch, time.perf_counter(), 0
        display.start_epoch(epoch, batches, done)
        self.network.train()
        for group in in_groups(self._on_device(self.batches), self.config.accumulate):
            progress = self._progress(epoch - 1 + done / batches)
            self._set_rate(epoch - 1 + done / batches, progress)
            self.means.add(self.take_step(group), sum(labels.shape[1] for _, labels in group))
            done, images = done + len(group), images + sum(labels.shape[:2].numel() for _, labels in group)
            display.step(len(group), self.means.values())
            if self._checkpoint_is_due():
                self._save_checkpoint(done)
            if progress >= 1:  # the time is up; after a step, so that every epoch has one to record
                break
        seconds = time.perf_counter() - started
        self._share_buffers()
        means, self.means, self.first_batch = self.means.values(self.accelerator), RunningMeans(), 0
        evaluation = evaluate(self.evaluated, self.validation, self.model.class_names, self.accelerator.device)
        return {
            "epoch": epoch,
            **{f"train_{name}": value for name, value in means.items()},
            "validation_accuracy": evaluation.accuracy,
            "validation_balanced_accuracy": evaluation.balanced_accuracy,
            "validation_loss": evaluation.loss,
            "learning_rate": max(group["lr"] for group in self._param_groups),  # of the heads, where layers differ
            "images_per_second": images * self.accelerator.num_processes / max(seconds, 1e-9),
            "seconds": self._seconds(),
        }

    def _share_buffers(self) -> None:
        """All processes evaluate and keep the running statistics of the first, whose weights are saved."""
        if self.accelerator.num_processes > 1:
            for model in (self.model,) if self.ema is None else (self.model, self.evaluated):
                for buffer in model.buffers():
                    broadcast(buffer)

    @property
    def _param_groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = self.take_step.optimizer.optimizer.param_groups
        return groups

    def _set_rate(self, epochs_done: float, progress: float) -> None:
        for group in self._param_groups:
            group["lr"] = self.config.learning_rate(epochs_done, progress) * group.get("lr_scale", 1.0)

    def _checkpoint_is_due(self) -> bool:
        """Whether the last checkpoint is old, by the clock of the main process."""
        due = [time.perf_counter() - self._saved >= 60 * self.config.checkpoint_minutes]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(due)
        return due[0]

    def _seconds(self) -> float:
        """How long the run has taken, without pauses between being stopped and resumed."""
        return self._before + time.perf_counter() - self._started

    def _on_device(self, batches: Batches) -> Iterator[Batch]:
        """Images as one tensor (B, C, H, W) per branch, labels (branches, B) or targets (branches, B, classes)."""
        device, branches = self.accelerator.device, self.model.branches
        for images, labels in batches:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            labels = labels.to(device, non_blocking=True)
            if self.teachers is not None:
                labels = self.teachers.targets(images, labels)
            yield list(images.chunk(branches)), labels.view(branches, -1, *labels.shape[1:])

    def _progress(self, epochs_done: float) -> float:
        """Share of the run done: of the epochs or of the time budget, whichever is further."""
        share = epochs_done / self.config.epochs
        if self.config.minutes is not None:
            elapsed = torch.tensor(self._seconds(), device=self.accelerator.device)
            elapsed = self.accelerator.reduce(elapsed, reduction="mean")  # all processes must end in the same step
            share = max(share, float(elapsed) / (60 * self.config.minutes))
        return min(share, 1.0)

    def _save_epoch(self) -> None:
        record = self.history[-1]
        with writing(self.folder.tensorboard):
            self.accelerator.log({k: v for k, v in record.items() if k != "epoch"}, step=int(record["epoch"]))
        if not self.accelerator.is_main_process:
            return
        self.folder.write_history(self.history)
        info = {**record, "crop": self.config.crop}
        if record is self._best():
            save_model(self.evaluated, self.folder.best, info=info)
        save_model(self.evaluated, self.folder.last, info=info)

    def _finish(self) -> RunResult:
        best_epoch = int(self._best()["epoch"])
        self.accelerator.wait_for_everyone()
        if (kept := read_config(self.folder.best)["info"].get("epoch")) != best_epoch:
            raise InputError(
                f"{self.folder.best} holds the weights of epoch {kept}, the best is {best_epoch}: that epoch was lost "
                "with a damaged checkpoint and came out differently; start the run again"
            )
        model = load_model(self.folder.best).to(self.accelerator.device)
        results = {"validation": evaluate(model, self.validation, model.class_names, self.accelerator.device)}
        if self.data.test is not None:
            logits: list[torch.Tensor] = []
            batches = self._to_evaluate(self.data.test)
            results["test"] = evaluate(model, batches, model.class_names, self.accelerator.device, logits)
            predictions = Predictions.of(self.data.test, in_order(logits))
            if self.accelerator.is_main_process:
                predictions.save(self.folder.path / PREDICTIONS)
        if self.accelerator.is_main_process:
            for line in write_results(self.folder, self.config.model, self.history, best_epoch, results):
                self._say(line)
            self.checkpoints.discard()
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return RunResult(self.folder.path, self.history, best_epoch, results["validation"], results.get("test"))

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _out_of_memory(config: TrainConfig) -> Iterator[None]:
    """Says what to do about too little memory."""
    try:
        yield
    except RuntimeError as error:  # the CPU's allocator raises nothing more specific
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise InputError(
                "out of memory; lower --batch-size (and raise --accumulate to take as many images per step), or train "
                "with --precision bf16"
            ) from error
        raise
