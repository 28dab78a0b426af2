"""Train the arms of the experiment on comparison; all arms of a seed have equal initial weights and batches.

The protocol is in docs/experiment.md. A run can be killed at any time and goes on from its last checkpoint with the
same losses; each finished run is one JSON file.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.forms import CrossPart, partners_in_batch
from benchmarks.ferplus.gate import IMAGES_PER_STEP, schedule
from benchmarks.ferplus.run import versions
from benchmarks.ferplus.vote_loss import balanced_accuracy, fitted_temperature, vote_losses
from qcs.data import Augmentation, LabeledImages, eval_transform
from qcs.data.batches import SeededBatches, TrainingImages
from qcs.engine.training.hardware import native_precision, use_plain_attention
from qcs.errors import InputError, check_choice
from qcs.files import replacing, write_text
from qcs.models import CrossSimilarityNetwork, create_model, save_model
from qcs.samplers import ClassBatchSampler

Arm: TypeAlias = Literal["base", "sham", "exemplars", "label-drawn"]
ARMS: tuple[Arm, ...] = get_args(Arm)
SEEDS, SCARCE_SEEDS = 12, 5
SCARCE = (1, 5, 25)  # percent of the training images
LEAST = 2  # training images of each class
AUGMENTATION = Augmentation(resize=52, rotation=10.0, erasing=None, color_jitter=(0.2, 0.2, 0.0, 0.0))
BATCH = 256  # images per evaluation batch


@dataclass(frozen=True)
class Job:
    """A run.

    Args:
        arm: What the second classifier compares an image with, or "base" without one.
        seed: Seed of initial weights, batches, augmentation, training images and partner images.
        percent: Training images used, in percent.
    """

    arm: Arm
    seed: int
    percent: int = 100

    @property
    def name(self) -> str:
        """Return the name of its files."""
        return f"{self.arm}-{self.percent}percent-seed{self.seed}"


@dataclass(frozen=True)
class Size:
    """The size of the runs.

    Args:
        network: `nano` for `base_nano`.
        steps: Steps of 48 images with all training images.
        scarce_steps: Steps with a part of them.
        lr: Peak learning rate.
    """

    network: str = "nano"
    steps: int = 8_000
    scarce_steps: int = 2_000
    lr: float = 1e-3

    def steps_of(self, job: Job) -> int:
        """Return the steps of a run."""
        return self.steps if job.percent == 100 else self.scarce_steps


@dataclass
class Training:
    """What a run changes from step to step, all of which a checkpoint holds.

    Args:
        model: The base network.
        part: The second classifier; None in the arm "base".
        optimizer: Of both.
        step: Steps done.
        seconds: Time they took.
        history: Mean losses of each hundredth part of the run.
        recent: Sums of the losses since the last entry of the history, and their number.
    """

    model: CrossSimilarityNetwork
    part: CrossPart | None
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    recent: dict[str, float] = field(default_factory=dict)

    @property
    def network(self) -> torch.nn.ModuleList:
        """Return base network and second classifier as one module."""
        return torch.nn.ModuleList([self.model] if self.part is None else [self.model, self.part])

    def save(self, path: Path) -> None:
        """Write a checkpoint, atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        numbers = {name: getattr(self, name) for name in ("step", "seconds", "history", "recent")}
        with replacing(path) as unfinished:
            torch.save({**state, **numbers}, unfinished)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("step", "seconds", "history", "recent"):
            setattr(self, name, state[name])

    def note(self, losses: dict[str, Tensor], every: int) -> None:
        """Add the losses of a step to the history."""
        for name, loss in losses.items():
            self.recent[name] = self.recent.get(name, 0.0) + float(loss.detach())
        if self.step % every == 0:
            self.history.append({"step": self.step, **{name: sum_ / every for name, sum_ in self.recent.items()}})
            self.recent = {}


@dataclass(frozen=True)
class Arms:
    """Run the jobs that have no result yet.

    Args:
        data: The images.
        size: Steps and network.
        results: Folder of one JSON file per run.
        runs: Folder of checkpoints and weights.
        console: Where to print progress.
        checkpoint_seconds: Time between checkpoints.
    """

    data: Data
    size: Size
    results: Path
    runs: Path
    console: Console
    checkpoint_seconds: float = 120.0

    def run(self, jobs: Iterable[Job], minutes: float = float("inf")) -> None:
        """Run the jobs in order.

        Args:
            jobs: The runs.
            minutes: Stop after this time, with a checkpoint of the run that is not finished.

        Raises:
            InputError: If the folder has results of another size, or a loss is not finite.
        """
        until = time.monotonic() + 60 * minutes
        for job in jobs:
            if self._is_done(job):
                continue
            if time.monotonic() >= until:
                return self._say(job, "not started: out of time")
            record = self.run_one(job, until)
            if record is None:
                return self._say(job, "stopped with a checkpoint: out of time")
            measures = record["measures"]["both"]
            text = f"NLL {measures['nll']:.4f}, accuracy {measures['accuracy']:.2%}"
            self._say(job, f"{text}, trained in {record['seconds']:.0f} s")

    def run_one(self, job: Job, until: float = float("inf")) -> dict[str, Any] | None:
        """Train or go on, measure, and write the record; return None if the time is up before.

        Args:
            job: The run.
            until: When to stop, on the monotonic clock.
        """
        images = self._training_images(job)
        training = self._started(job)
        checkpoint = self.runs / f"{job.name}.pt"
        if checkpoint.exists():
            training.load(checkpoint)
        if not self._train(job, images, training, checkpoint, until):
            return None
        record = {
            **asdict(job),
            "size": asdict(self.size),
            "steps": training.step,
            "views": training.step * IMAGES_PER_STEP,
            "images": images.class_counts(),
            "augmentation": asdict(AUGMENTATION),
            "precision": native_precision(),
            "model_args": training.model.model_args,
            "history": training.history,
            "seconds": training.seconds,
            "data": {"ferplus.npz": self.data.hashes("votes")["ferplus.npz"]},
            "threads": torch.get_num_threads(),
            "machine": {"processor": platform.machine(), "capability": torch.backends.cpu.get_cpu_capability()},
            "versions": versions(),
            "measures": self._measured(training.model),
        }
        save_model(training.model, self.runs / f"{job.name}.safetensors")
        write_text(self._result(job), json.dumps(record, indent=1) + "\n")
        checkpoint.unlink(missing_ok=True)
        return record

    @cached_property
    def evaluated(self) -> dict[str, LabeledImages]:
        """Return the validation and test images without copies."""
        return {split: self.data.without_copies(split) for split in ("validation", "test")}

    def _training_images(self, job: Job) -> LabeledImages:
        images = self.data.vote_shares("train")
        return images if job.percent == 100 else images.subset(part_of(images.labels, job.percent, job.seed))

    def _started(self, job: Job) -> Training:
        """Return the training before its first step; the arms of a seed have equal initial weights."""
        torch.manual_seed(job.seed)
        classes = self.data.official["train"].classes
        model: Any = create_model(f"base_{self.size.network}", num_classes=len(classes))
        model.name_classes(classes)
        part = None if job.arm == "base" else CrossPart(job.arm, model)
        network = torch.nn.ModuleList([model] if part is None else [model, part])
        use_plain_attention(network)
        network.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=self.size.lr, weight_decay=0.0, fused=True)
        return Training(model, part, optimizer)

    def _train(self, job: Job, images: LabeledImages, training: Training, checkpoint: Path, until: float) -> bool:
        """Take the remaining steps; return whether all are done."""
        steps = self.size.steps_of(job)
        every, saved = max(1, steps // 100), time.monotonic()
        began, before = saved, training.seconds
        for pixels, shares, labels in batches(images, training.model, job.seed, training.step, steps):
            for group in training.optimizer.param_groups:
                group["lr"] = self.size.lr * schedule(training.step / steps)
            losses = step_losses(training, pixels, shares, labels, (job.seed, training.step))
            if not np.isfinite(float(losses["loss"].detach())):
                raise InputError(f"{job.name}: the loss is {float(losses['loss'])} in step {training.step + 1}")
            training.optimizer.zero_grad()
            torch.autograd.backward(losses["loss"])
            training.optimizer.step()
            training.step += 1
            training.note(losses, every)
            now = time.monotonic()
            training.seconds = before + now - began
            out_of_time = now >= until and training.step < steps
            if out_of_time or now - saved >= self.checkpoint_seconds:
                training.save(checkpoint)
                saved = now
            if out_of_time:
                return False
        return True

    @torch.inference_mode()
    def _measured(self, model: CrossSimilarityNetwork) -> dict[str, Any]:
        """Measure the base network on validation and test images, apart and together."""
        model.eval()
        transform = eval_transform(resolve_model_data_config(model))
        logits, shares, labels = {}, {}, {}
        for split, images in self.evaluated.items():
            pixels = [transform(images.image(row)) for row in range(len(images))]
            found = [model(torch.stack(pixels[row : row + BATCH])).float() for row in range(0, len(pixels), BATCH)]
            logits[split], shares[split], labels[split] = torch.cat(found).numpy(), images.soft, images.labels
        temperature = fitted_temperature(logits["validation"], _known(shares["validation"]))
        for of_split in (logits, shares, labels):
            of_split["both"] = np.concatenate([of_split["validation"], of_split["test"]])
        measured = {
            split: measures_of(logits[split], _known(shares[split]), labels[split], temperature) for split in logits
        }
        predicted = "".join(map(str, logits["both"].argmax(1).tolist()))
        return {"temperature": temperature, **measured, "predicted": predicted}

    def _is_done(self, job: Job) -> bool:
        path = self._result(job)
        if not path.exists():
            return False
        if (size := json.loads(path.read_text())["size"]) != asdict(self.size):
            raise InputError(f"{path} has another size, {size}; choose other folders with --results and --runs")
        return True

    def _result(self, job: Job) -> Path:
        return self.results / f"{job.name}.json"

    def _say(self, job: Job, what: str) -> None:
        self.console.print(f"{job.name}: {what}", markup=False, highlight=False, soft_wrap=True)


def chosen(names: Collection[str]) -> tuple[Arm, ...]:
    """Return the arms of these names, in their order.

    Raises:
        InputError: If a name is unknown.
    """
    for name in names:
        check_choice("arm", name, ARMS)
    return tuple(arm for arm in ARMS if arm in set(names))


def jobs(arms: Iterable[Arm] = ARMS, seeds: int = SEEDS, scarce_seeds: int = SCARCE_SEEDS) -> Iterator[Job]:
    """Yield all arms of one seed before any of the next, all training images before parts of them."""
    planned = tuple(arms)
    yield from (Job(arm, seed) for seed in range(seeds) for arm in planned)
    yield from (Job(arm, seed, percent) for seed in range(scarce_seeds) for percent in SCARCE for arm in planned)


def shard(all_jobs: Iterable[Job], own: str) -> list[Job]:
    """Return the jobs of one of several machines; the arms of a seed stay together.

    Args:
        all_jobs: The jobs.
        own: Number of the shard, from 1, and of all shards, such as "1/2".

    Raises:
        InputError: If it is no shard.

    Example:
        >>> [job.seed for job in shard(jobs(["base", "sham"], seeds=4, scarce_seeds=0), "2/2")]
        [1, 1, 3, 3]
    """
    number, _, count = own.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise InputError(f"a shard is its number and the number of all, such as 1/2; got {own!r}")
    return [job for job in all_jobs if job.seed % int(count) == int(number) - 1]


def part_of(labels: npt.NDArray[np.int64], percent: int, seed: int) -> npt.NDArray[np.int64]:
    """Return the rows of a part of the images, the same share of every class and at least two images."""
    rng = np.random.default_rng((seed, percent))
    chosen = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(rows[: max(LEAST, round(percent / 100 * len(rows)))])
    return np.sort(np.concatenate(chosen))


def batches(
    images: LabeledImages, model: CrossSimilarityNetwork, seed: int, done: int, steps: int
) -> Iterator[tuple[Tensor, Tensor, npt.NDArray[np.int64]]]:
    """Yield pixels, vote shares and labels of the remaining steps; they depend on images, seed and step alone."""
    sampler = ClassBatchSampler(images.labels, IMAGES_PER_STEP, seed=seed)
    augmented = TrainingImages(images, resolve_model_data_config(model), AUGMENTATION, soft_labels=True)
    while done < steps:
        sampler.load_state_dict({"epoch": done // len(sampler), "batch": done % len(sampler)})
        for batch in SeededBatches(sampler, seed):
            if done == steps:
                return
            done += 1
            pixels, shares = augmented.__getitems__(batch)
            yield pixels.contiguous(memory_format=torch.channels_last), shares, images.labels[batch.indices]


def step_losses(
    training: Training, pixels: Tensor, shares: Tensor, labels: npt.NDArray[np.int64], seed: tuple[int, int]
) -> dict[str, Tensor]:
    """Return the loss of a step and its parts: the base loss of all images, the cross loss of those compared."""
    exemplars = len(np.unique(labels))
    with torch.autocast("cpu", torch.bfloat16, enabled=native_precision() == "bf16"):
        tokens = training.model.forward_features(pixels)
        base_logits = training.model.forward_head(tokens)
        cross_logits = None
        if training.part is not None:
            features = tokens[:, 1:]
            partners = partners_in_batch(training.part.form, features, labels, exemplars, seed)
            cross_logits = training.part(features[exemplars:], partners)
    base = F.cross_entropy(base_logits.float(), shares)
    if cross_logits is None:
        return {"loss": base, "base": base}
    cross = F.cross_entropy(cross_logits.float(), shares[exemplars:])
    with torch.no_grad():
        base_of_compared = F.cross_entropy(base_logits[exemplars:].float(), shares[exemplars:])
    return {"loss": (base + cross) / 2, "base": base, "cross": cross, "base_of_compared": base_of_compared}


def measures_of(
    logits: npt.NDArray[np.float32],
    shares: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    temperature: float,
) -> dict[str, float]:
    """Return the measures of logits (n, classes)."""
    right = logits.argmax(1) == labels
    return {
        "images": len(labels),
        "nll": float(vote_losses(logits, shares, temperature).mean()),
        "accuracy": float(right.mean()),
        "balanced_accuracy": balanced_accuracy(right, labels),
    }


def _known(shares: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
    assert shares is not None  # `Data.without_copies` gives vote shares
    return shares
