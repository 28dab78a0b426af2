"""Build what a training run works with: network, data, optimizer step, teachers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, set_seed
from timm.data import resolve_model_data_config
from timm.utils import ModelEmaV3

from qcs.data.dataset import LabeledImages
from qcs.engine.training.build import build_model
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.data import (
    Batches,
    Sources,
    batches_to_evaluate,
    batches_to_train,
    branch_sampler,
    check_loaders,
    sources,
    with_crop,
)
from qcs.engine.training.hardware import check_compiler, native_precision, use_plain_attention
from qcs.engine.training.objective import build_objective, to_train
from qcs.engine.training.optimizer import build_optimizer
from qcs.engine.training.step import Batch, TrainingStep
from qcs.engine.training.teachers import Teachers
from qcs.errors import InputError
from qcs.models import Classifier
from qcs.samplers.branch_sampler import BranchSampler


@dataclass
class Components:
    """What a training run works with.

    Attributes:
        config: The settings.
        accelerator: Device and processes.
        precision: `"fp32"` or `"bf16"`.
        data: The images.
        model: The network, not wrapped.
        sampler: Draws the images of each training batch.
        batches: Training batches, in the order of the sampler.
        teachers: Networks that give a part of the training targets, if any.
        step: Takes an optimizer step.
    """

    config: TrainConfig
    accelerator: Accelerator
    precision: str
    data: Sources
    model: Classifier
    sampler: BranchSampler
    batches: Batches
    teachers: Teachers | None
    step: TrainingStep

    @property
    def evaluated(self) -> Classifier:
        """The network that is evaluated and saved: that of the averaged weights, if there is an average."""
        ema = self.step.ema
        return self.model if ema is None else cast(Classifier, ema.module)

    def to_evaluate(self, images: LabeledImages) -> Batches:
        """Return this process's batches of images to evaluate the network on."""
        return batches_to_evaluate(self.config, images, resolve_model_data_config(self.model), self.accelerator)

    def training_batches(self) -> Iterator[Batch]:
        """Yield batches on the device: images (B, C, H, W) of each branch and labels (branches, B).

        With soft labels or teachers, targets (branches, B, classes) take the place of the labels.
        """
        device, branches = self.accelerator.device, self.model.branches
        for images, labels in self.batches:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            labels = labels.to(device, non_blocking=True)
            if self.teachers is not None:
                labels = self.teachers.targets(images, labels)
            yield list(images.chunk(branches)), labels.view(branches, -1, *labels.shape[1:])

    def share_buffers(self) -> None:
        """Give all processes the batch-norm statistics of the first one, whose weights are saved."""
        if self.accelerator.num_processes > 1:
            for model in (self.model,) if self.step.ema is None else (self.model, self.evaluated):
                for buffer in model.buffers():
                    broadcast(buffer)


def build_components(
    config: TrainConfig, splits: Mapping[str, LabeledImages] | None, resumed: Mapping[str, Any] | None
) -> Components:
    """Build the components of a run.

    Args:
        config: The settings.
        splits: Images in memory, by split, instead of `config.data`.
        resumed: What the run that is resumed started with, see `results.started_with`; None for a new run.

    Raises:
        InputError: If settings and data do not fit one another, or a resumed run has other data or teachers.
    """
    # Accelerate's own mixed precision can be chosen only once per process.
    accelerator = Accelerator(
        mixed_precision="no", cpu=not torch.accelerator.is_available(), log_with="tensorboard", project_dir="."
    )
    if config.compile:
        check_compiler()
    precision = native_precision() if config.precision == "auto" else config.precision
    set_seed(config.seed)
    data = sources(config, splits)
    config = with_crop(config, data.train)
    model, data = build_model(config, data)
    if resumed is not None:
        data = _data_of_run(data, model, resumed["images"])
    sampler = branch_sampler(config, data.train, model.branches, accelerator)
    check_loaders(config, data, model, accelerator)
    batches = batches_to_train(config, data.train, sampler, resolve_model_data_config(model), accelerator)
    if accelerator.device.type == "cpu":
        use_plain_attention(model)
    bf16 = precision == "bf16"
    teachers = _teachers(config, model, accelerator.device, bf16, resumed) if config.teachers else None
    step = _step(config, model, data, accelerator, bf16)
    return Components(config, accelerator, precision, data, model, sampler, batches, teachers, step)


def _step(config: TrainConfig, model: Classifier, data: Sources, accelerator: Accelerator, bf16: bool) -> TrainingStep:
    network = accelerator.prepare_model(to_train(model.to(memory_format=torch.channels_last)))
    objective = build_objective(config, model, data.train.class_counts()).to(accelerator.device)
    ema = ModelEmaV3(model, decay=config.ema, use_warmup=True) if config.ema else None
    return TrainingStep(
        # Only the calls of the step are compiled: evaluation has other shapes.
        cast(torch.nn.Module, torch.compile(network)) if config.compile else network,
        build_optimizer(config, model, objective),
        objective,
        accelerator,
        bf16=bf16,
        clip_grad=config.clip_grad,
        ema=ema,
    )


def _data_of_run(data: Sources, model: Classifier, started_with: Mapping[str, Mapping[str, int]]) -> Sources:
    """The data with the classes in the order that the run started with, and the same number of images of each."""
    classes = tuple(started_with["train"])
    if sorted(classes) == sorted(data.train.classes):
        data = data.with_classes(classes)
        model.name_classes(classes)
    found = data.summary()
    if found != started_with:
        raise InputError(f"the data changed since the run began: it has {found} images, then {dict(started_with)}")
    return data


def _teachers(
    config: TrainConfig,
    model: Classifier,
    device: torch.device,
    bf16: bool,
    resumed: Mapping[str, Any] | None,
) -> Teachers:
    """The teachers; a resumed run must have those that it started with, since others give other targets."""
    teachers = Teachers(config.teachers, config.teacher_share, model, device=device, bf16=bf16)
    known = teachers.hashes if resumed is None else resumed.get("teachers", {})
    if changed := [source for source, found in teachers.hashes.items() if known.get(source) != found]:
        raise InputError(
            f"the weights of the teachers {', '.join(changed)} changed since the run began; restore them or start a "
            "new run"
        )
    return teachers
