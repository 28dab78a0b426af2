"""The objective of a training: that which the network names, or the joint loss of networks that name none.

Every objective returns its terms by name, among them `loss`, which is minimized.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast, runtime_checkable

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from qcs.branches import BranchLogits
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.meters import accuracies
from qcs.errors import InputError
from qcs.losses import JointLoss
from qcs.models import Classifier
from qcs.models.peers import PeerNetwork

JOINT_ONLY = ("label_smoothing", "class_weights", "soft_labels", "teachers", "distillation")
"""Settings that act on the joint loss alone."""


@runtime_checkable
class EpochObjective(Protocol):
    """An objective that updates itself after each epoch from the outputs for all training images."""

    def of_epoch(self, out: Any) -> Tensor:
        """Return what `end_epoch` needs of the outputs of a batch, a row per image."""
        ...

    def end_epoch(self, values: Tensor, labels: Tensor) -> None:
        """Update from the rows and labels of all training images."""
        ...


class TrainingOutputs(nn.Module):
    """Returns by its call what the network's own objective needs: data-parallel wrappers run calls alone."""

    def __init__(self, network: PeerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network.forward_outputs(x)


def to_train(model: Classifier) -> nn.Module:
    """Return what a training step calls: the network, or its outputs for its own objective."""
    return TrainingOutputs(model) if isinstance(model, PeerNetwork) else model


def build_objective(config: TrainConfig, model: Classifier, class_counts: dict[str, int]) -> nn.Module:
    """Return the objective of a run.

    Args:
        config: The settings.
        model: The network.
        class_counts: Training images of each class, in class order.

    Raises:
        InputError: If a setting does not fit the objective of the network.
    """
    counts = torch.tensor(list(class_counts.values()))
    if not isinstance(model, PeerNetwork):
        if config.objective_args:
            raise InputError(f"{config.model} has no objective of its own: leave out objective_args")
        weights = None
        if config.class_weights == "inverse":
            weights = counts.float().sum() / (counts.clamp_min(1) * (counts > 0).sum())
        return JointLoss(config.distillation, label_smoothing=config.label_smoothing, class_weights=weights)
    defaults = TrainConfig(data="")
    if given := [name for name in JOINT_ONLY if getattr(config, name) != getattr(defaults, name)]:
        raise InputError(
            f"{config.model} has an objective of its own, on which {', '.join(given)} cannot act: leave it out, or set "
            "the objective with objective_args"
        )
    try:
        return model.objective(counts, **config.objective_args)
    except TypeError as error:
        options = ", ".join(f"{name}={value!r}" for name, value in config.objective_args.items())
        raise InputError(f"the objective of {config.model} does not take {options}: {error}") from error


def losses_and_accuracies(objective: nn.Module, out: Any, labels: Tensor) -> dict[str, Tensor]:
    """Return the loss, its components and the accuracies of a batch, by the names under which they are logged.

    Args:
        objective: The objective.
        out: What the network returned.
        labels: Labels (branches, B) or targets (branches, B, classes).
    """
    out = precise(out)
    if isinstance(objective, JointLoss):
        if isinstance(out, Tensor):  # a base network classifies its one branch
            out = BranchLogits(base=out.unsqueeze(0), cross=None)
        losses = objective(out, labels)
        named = {f"{name}_loss": losses[name] for name in ("base", "cross", "distillation") if name in losses}
        return {"loss": losses["loss"], **named, **accuracies(out, labels)}
    (labels,) = labels
    losses = objective(out, labels)
    logits: Tensor = cast(Any, objective).prediction(out)
    named = {f"{name}_loss": value for name, value in losses.items() if name != "loss"}
    return {"loss": losses["loss"], **named, "accuracy": (logits.argmax(-1) == labels).float().mean()}


def precise(out: Any) -> Any:
    """Return outputs with their numbers in float32 at least, for the losses."""
    if isinstance(out, Tensor):
        return out.to(torch.promote_types(out.dtype, torch.float32))
    if isinstance(out, tuple):
        return type(out)(*map(precise, out))  # a named tuple
    return out


def share_gradients(objective: nn.Module, accelerator: Accelerator) -> None:
    """Average over all processes the gradients of the objective's parameters, which no wrapper covers."""
    if accelerator.num_processes > 1:
        for parameter in objective.parameters():
            if parameter.grad is not None:
                parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")


@torch.no_grad()
def end_epoch(
    objective: nn.Module,
    model: Classifier,
    batches: Iterator[tuple[list[Tensor], Tensor]],
    accelerator: Accelerator,
    autocast: AbstractContextManager[Any],
) -> None:
    """Let an objective that updates itself after an epoch see the outputs for the training images.

    The network is in evaluation mode meanwhile. Under several processes all see the rows of all.
    """
    assert isinstance(objective, EpochObjective) and isinstance(model, PeerNetwork)
    training = model.training
    model.eval()
    rows, labels = [], []
    for (images,), of_batch in batches:
        with autocast:
            out = model.forward_outputs(images)
        rows.append(objective.of_epoch(precise(out)))
        labels.append(of_batch[0])
    model.train(training)
    objective.end_epoch(accelerator.gather(torch.cat(rows)), accelerator.gather(torch.cat(labels)))
