"""Build the optimizer of a training run from its settings."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import Tensor, nn

from qcs.engine.training.config import TrainConfig
from qcs.engine.training.sam import SAM
from qcs.models import Classifier

OPTIMIZERS: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def build_optimizer(config: TrainConfig, model: Classifier, objective: nn.Module) -> SAM:
    """Return the optimizer of the trainable parameters, within sharpness-aware minimization."""
    groups = parameter_groups(config, model)
    if own := list(objective.parameters()):  # as the class centers of DAN
        groups += own if isinstance(groups[0], Tensor) else [{"params": own}]
    options: dict[str, Any] = dict(lr=config.lr, weight_decay=config.weight_decay, fused=True)
    if config.optimizer == "sgd":
        options["momentum"] = config.momentum
    return SAM(OPTIMIZERS[config.optimizer](groups, **options), config.sam_rho)


def parameter_groups(config: TrainConfig, model: Classifier) -> list[Any]:
    """Return the trainable parameters, in groups where learning rate or weight decay differ between them."""
    exempt = model.no_weight_decay()
    if config.layer_decay != 1:
        return list(
            param_groups_layer_decay(
                model, config.weight_decay, no_weight_decay_list=exempt, layer_decay=config.layer_decay
            )
        )
    if config.weight_decay and not config.decay_all:
        return list(param_groups_weight_decay(model, config.weight_decay, no_weight_decay_list=exempt))
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def set_learning_rate(optimizer: SAM, rate: float) -> None:
    """Set the learning rate of the heads; with layer-wise decay other layers get a fixed fraction of it."""
    for group in optimizer.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def learning_rate(optimizer: SAM) -> float:
    """Return the learning rate of the heads, which is the largest one."""
    return max(float(group["lr"]) for group in optimizer.optimizer.param_groups)
