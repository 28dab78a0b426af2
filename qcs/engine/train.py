"""Training a network: the loop, the choice of the best weights, and what is left in the run folder."""

from __future__ import annotations

import dataclasses
import math
import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from rich.console import Console
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.utils.data import DataLoader

import qcs
from qcs.branches import BranchLogits
from qcs.data import Augmentation, eval_transform, train_transform
from qcs.data.dataset import LabelledImages
from qcs.engine.build import build_model
from qcs.engine.config import TrainConfig
from qcs.engine.display import TrainingDisplay
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.hardware import native_precision, use_plain_attention
from qcs.engine.run_folder import RunFolder, writing
from qcs.engine.running import RunningMeans, accuracies
from qcs.engine.sam import SAM
from qcs.engine.sources import sources
from qcs.errors import InputError
from qcs.losses import JointLoss
from qcs.models import load_model, save_model
from qcs.samplers import ImageSampler, PairSampler, QuadrupletSampler

EVAL_BATCH = 256
Batches = DataLoader[tuple[Any, int]]  # batches of images (B, C, H, W) and labels (B,)


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
    config: TrainConfig, splits: Mapping[str, LabelledImages] | None = None, console: Console | None = None
) -> RunResult:
    """Train a network and leave it in a run folder.

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


class _Training:
    """One run; the methods are its steps in the order they happen."""

    def __init__(self, config: TrainConfig, splits: Mapping[str, LabelledImages] | None, console: Console) -> None:
        self.config = config
        # Accelerate's own mixed precision can be chosen only once per process.
        self.accelerator = Accelerator(
            mixed_precision="no", cpu=not torch.accelerator.is_available(), log_with="tensorboard", project_dir="."
        )
        self.precision = native_precision() if config.precision == "auto" else config.precision
        self.console = console if self.accelerator.is_main_process else Console(quiet=True)
        set_seed(config.seed)
        data = sources(config, splits)
        self.model, self.data = build_model(config, data)
        stamp = [datetime.now().strftime("%Y%m%d-%H%M%S")]
        self.folder = RunFolder(config.folder(broadcast_object_list(stamp)[0]))  # the same for all processes
        self._data_config = resolve_model_data_config(self.model)
        self.batches = self._training_batches()
        self.validation = self._evaluation_batches(self.data.validation)
        if self.accelerator.device.type == "cpu":
            use_plain_attention(self.model)
        self.network = self.accelerator.prepare_model(self.model.to(memory_format=torch.channels_last))
        adam = torch.optim.Adam(self.network.parameters(), lr=config.lr)
        self.optimizer = SAM(adam, config.sam_rho)
        self.loss = JointLoss(config.distillation, label_smoothing=config.label_smoothing)

    def run(self) -> RunResult:
        if self.accelerator.is_main_process:
            self.folder.create()
        try:
            self._introduce()
            history, best_epoch = self._run_epochs()
        except BaseException:  # also an interrupt from the keyboard
            self._stop_early()
            raise
        return self._finish(history, best_epoch)

    def _run_epochs(self) -> tuple[list[dict[str, float]], int]:
        """A record per epoch, and the epoch of the best weights."""
        set_seed(self.config.seed, device_specific=True)  # augmentation and dropout differ between processes
        history: list[dict[str, float]] = []
        best = (0, -math.inf)
        self._started = time.perf_counter()
        with TrainingDisplay(self.console, self.config.epochs) as display:
            for epoch in range(1, self.config.epochs + 1):
                record = self._run_epoch(epoch, display)
                history.append(record)
                improved = record["validation_accuracy"] > best[1]
                best = (epoch, record["validation_accuracy"]) if improved else best
                self._save_epoch(history, improved)
                display.epoch(record, improved)
                if self._progress(epoch) >= 1:
                    break
        return history, best[0]

    def _stop_early(self) -> None:
        """Leave a folder with the weights of finished epochs, or none."""
        if not self.accelerator.is_main_process:
            return
        if self.folder.last.exists():
            self._say(f"stopped early; {self.folder.path} holds the weights of the finished epochs")
        else:
            self.folder.discard()

    def _introduce(self) -> None:
        """Say and write down what this run is."""
        if not self.accelerator.is_main_process:
            return
        self.folder.write_json(
            "config.json",
            {
                "config": dataclasses.asdict(self.config),
                "anchors_per_step": self.config.anchors_per_step(self.model.branches),
                "precision": self.precision,
                "processes": self.accelerator.num_processes,
                "images": self.data.summary(),
                "model_chosen_on": self.data.selection,
                "model_args": self.model.model_args,
                "versions": {"qcs": qcs.__version__, "torch": torch.__version__, "python": platform.python_version()},
            },
        )
        counts = {name: sum(classes.values()) for name, classes in self.data.summary().items()}
        self._say(
            f"{self.config.model} on {', '.join(f'{n:,} {name}' for name, n in counts.items())} images; "
            f"classes {', '.join(self.model.class_names)}\n"
            f"the model is chosen on {self.data.selection}, never on test images\n"
            f"run folder {self.folder.path}"
        )
        self.accelerator.project_configuration.logging_dir = str(self.folder.path)
        with writing(self.folder.path / "tensorboard"):
            self.accelerator.init_trackers("tensorboard")

    def _training_batches(self) -> Batches:
        config, branches = self.config, self.model.branches
        augmentation = Augmentation(
            resize=config.resize, rotation=config.rotation, erasing=config.erasing, color_jitter=config.color_jitter
        )
        images = self.data.train.with_transform(train_transform(self._data_config, augmentation))
        shared: dict[str, Any] = dict(
            balance=config.balance,
            fraction=config.fraction,
            seed=config.seed,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        anchors = config.anchors_per_step(branches)
        if branches == 4:
            self.sampler: Any = QuadrupletSampler(images.labels, anchors, negatives=config.negatives, **shared)
        else:
            self.sampler = (PairSampler if branches == 2 else ImageSampler)(images.labels, anchors, **shared)
        return DataLoader(
            images,
            batch_sampler=self.sampler,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def _evaluation_batches(self, images: LabelledImages) -> Batches:
        share = range(self.accelerator.process_index, len(images), self.accelerator.num_processes)
        transform = eval_transform(self._data_config)
        return DataLoader(
            images.subset(list(share)).with_transform(transform), EVAL_BATCH, num_workers=self.config.workers
        )

    def _run_epoch(self, epoch: int, display: TrainingDisplay) -> dict[str, float]:
        self.sampler.set_epoch(epoch)
        display.start_epoch(epoch, len(self.batches))
        means, started, images_seen = RunningMeans(), time.perf_counter(), 0
        self.network.train()
        for step, (images, labels) in enumerate(self._on_device(self.batches)):
            done = epoch - 1 + step / len(self.batches)
            progress = self._progress(done)
            for group in self.optimizer.optimizer.param_groups:
                group["lr"] = self.config.learning_rate(done, progress)
            values = self._step(images, labels)
            means.add(values, labels.shape[1])
            images_seen += labels.numel()
            shown = means.values()
            if not math.isfinite(shown["loss"]):
                raise InputError(
                    f"the loss became {shown['loss']} in epoch {epoch}, step {step + 1}; try a smaller learning rate "
                    f"than {self.config.lr:g}"
                )
            display.step(shown)
            if progress >= 1:  # the time is up; after a step, so that every epoch has one to record
                break
        seconds = time.perf_counter() - started
        evaluation = evaluate(self.model, self.validation, self.model.class_names, self.accelerator.device)
        return {
            "epoch": epoch,
            **{f"train_{name}": value for name, value in means.values(self.accelerator).items()},
            "validation_accuracy": evaluation.accuracy,
            "validation_balanced_accuracy": evaluation.balanced_accuracy,
            "validation_loss": evaluation.loss,
            "learning_rate": self.optimizer.optimizer.param_groups[0]["lr"],
            "images_per_second": images_seen * self.accelerator.num_processes / max(seconds, 1e-9),
            "seconds": time.perf_counter() - self._started,
        }

    def _on_device(self, batches: Batches) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Images as one tensor (B, C, H, W) per branch, labels (branches, B)."""
        device, branches = self.accelerator.device, self.model.branches
        for images, labels in batches:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            yield list(images.chunk(branches)), labels.to(device, non_blocking=True).view(branches, -1)

    def _step(self, images: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """One optimiser step; losses and accuracies at the weights it starts from."""
        values = self._backward(images, labels)
        if self.config.sam_rho:
            self.optimizer.climb()
            self._backward(images, labels)
        self.optimizer.step()
        return values

    def _backward(self, images: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        self.optimizer.zero_grad()
        with self._autocast():
            out = self.network(*images)
        if isinstance(out, Tensor):  # a base network classifies its one branch
            out = BranchLogits(base=out.unsqueeze(0), cross=None)
        out = BranchLogits(out.base.float(), None if out.cross is None else out.cross.float())
        losses = self.loss(out, labels)
        self.accelerator.backward(losses["loss"])
        named = {f"{name}_loss": losses[name] for name in ("base", "cross", "distillation") if name in losses}
        return {"loss": losses["loss"], **named, **accuracies(out, labels)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def _progress(self, epochs_done: float) -> float:
        """Share of the run done: of the epochs or of the time budget, whichever is further."""
        share = epochs_done / self.config.epochs
        if self.config.minutes is not None:
            elapsed = torch.tensor(time.perf_counter() - self._started, device=self.accelerator.device)
            elapsed = self.accelerator.reduce(elapsed, reduction="mean")  # all processes must end in the same step
            share = max(share, float(elapsed) / (60 * self.config.minutes))
        return min(share, 1.0)

    def _save_epoch(self, history: list[dict[str, float]], improved: bool) -> None:
        record = history[-1]
        with writing(self.folder.path / "tensorboard"):
            self.accelerator.log({k: v for k, v in record.items() if k != "epoch"}, step=int(record["epoch"]))
        if not self.accelerator.is_main_process:
            return
        self.folder.write_json("metrics.json", history)
        if improved:
            save_model(self.model, self.folder.best, info=record)
        save_model(self.model, self.folder.last, info=record)

    def _finish(self, history: list[dict[str, float]], best_epoch: int) -> RunResult:
        self.accelerator.wait_for_everyone()
        model = load_model(self.folder.best).to(self.accelerator.device)
        results = {"validation": evaluate(model, self.validation, model.class_names, self.accelerator.device)}
        if self.data.test is not None:
            batches = self._evaluation_batches(self.data.test)
            results["test"] = evaluate(model, batches, model.class_names, self.accelerator.device)
        if self.accelerator.is_main_process:
            self._report(history, best_epoch, results)
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return RunResult(self.folder.path, history, best_epoch, results["validation"], results.get("test"))

    def _report(self, history: list[dict[str, float]], best_epoch: int, results: dict[str, Evaluation]) -> None:
        from qcs import visualize

        for name, result in results.items():
            self.folder.write_json(f"{name}.json", {"best_epoch": best_epoch, **result.to_dict()})
            self._say(
                f"{name}: accuracy {result.accuracy:.2%}, balanced {result.balanced_accuracy:.2%} "
                f"({result.images:,} images, weights of epoch {best_epoch})"
            )
        matrices = {name: result.confusion for name, result in results.items()}
        pictures = {
            "confusion.png": visualize.confusion_matrices(matrices, self.model.class_names),
            "curves.png": visualize.loss_curves({self.config.model: history}),
        }
        for name, picture in pictures.items():
            with writing(self.folder.path / name):
                visualize.save(picture, self.folder.path / name)
        self._say(f"wrote {self.folder.path}")

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
