"""Build the optimizer and the loss of a training run from its settings."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

from qcs.engine.training.config import TrainConfig
from qcs.engine.training.sam import SAM
from qcs.losses import JointLoss
from qcs.models import CrossSimilarityNetwork


def build_optimizer(config: TrainConfig, model: CrossSimilarityNetwork) -> SAM:
    """Return AdamW over the trainable parameters, within sharpness-aware minimization."""
    groups = parameter_groups(config, model)
    return SAM(torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True), config.sam_rho)


def parameter_groups(config: TrainConfig, model: CrossSimilarityNetwork) -> Any:
    """Return the trainable parameters, in groups where learning rate or weight decay differ between them."""
    exempt = model.no_weight_decay()
    if config.layer_decay != 1:
        return param_groups_layer_decay(model, config.weight_decay, exempt, layer_decay=config.layer_decay)
    if config.weight_decay:
        return param_groups_weight_decay(model, config.weight_decay, exempt)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def set_learning_rate(optimizer: SAM, rate: float) -> None:
    """Set the learning rate of the heads; with layer-wise decay other layers get a fixed fraction of it."""
    for group in optimizer.optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def learning_rate(optimizer: SAM) -> float:
    """Return the learning rate of the heads, which is the largest one."""
    return max(float(group["lr"]) for group in optimizer.optimizer.param_groups)


def build_loss(config: TrainConfig, class_counts: dict[str, int]) -> JointLoss:
    """Return the loss of all classifiers, with the class weights that the settings name.

    Args:
        config: The settings.
        class_counts: Training images of each class, in class order.
    """
    weights = None
    if config.class_weights == "inverse":
        counts = torch.tensor(list(class_counts.values()), dtype=torch.float32)
        weights = counts.sum() / (counts.clamp_min(1) * (counts > 0).sum())
    return JointLoss(config.distillation, label_smoothing=config.label_smoothing, class_weights=weights)
