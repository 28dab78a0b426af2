"""Knowledge distillation: mix the probabilities of teachers, which are trained networks, into the training targets.

The votes of a few people are a noisy target; their mean with the probabilities of trained networks is less noisy
(Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531). Teachers get the same
augmented pixels as the network in training, so that their probabilities describe these (Beyer et al., Knowledge
Distillation: A Good Teacher Is Patient and Consistent, arXiv 2106.05237).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.nn import functional as F

from qcs.engine.training.hardware import use_plain_attention
from qcs.errors import InputError
from qcs.files import sha256
from qcs.models import Classifier, load_model
from qcs.models.weights import find_weights


class Teacher(NamedTuple):
    """A trained network and what its images and classes are to the network in training.

    Attributes:
        network: The network.
        order: Its index of each class of the network in training.
        scale: Factor of normalized pixels (C, 1, 1), from the normalization of the network in training to its own.
        shift: What is added to them afterwards (C, 1, 1).
    """

    network: Classifier
    order: list[int]
    scale: Tensor
    shift: Tensor

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits (B, classes) of images of the network in training, in its order of classes."""
        found: Tensor = self.network(images * self.scale + self.shift)[:, self.order].float()
        return found


class Teachers:
    """Trained networks whose probabilities are mixed into the training targets.

    Args:
        sources: Weights files or what stands for them, see `find_weights`.
        share: Weight of the teachers' probabilities in the targets, in [0, 1]; the labels have the rest.
        model: The network in training (the student), with the classes of the labels.
        device: Device of the teachers.
        bf16: Whether the teachers use autocast to bfloat16.

    Attributes:
        hashes: SHA-256 of each teacher's weights file, by source.

    Raises:
        InputError: If there is no such file, or a teacher has other classes or takes images of another size than the
            network.
    """

    def __init__(
        self,
        sources: Sequence[str],
        share: float,
        model: Classifier,
        *,
        device: torch.device | str = "cpu",
        bf16: bool = False,
    ) -> None:
        self.share, self.device, self.bf16 = share, torch.device(device), bf16
        files = {source: find_weights(source) for source in sources}
        self.hashes = {source: sha256(file) for source, file in files.items()}
        self.networks = [self._network(source, file, model) for source, file in files.items()]

    def _network(self, source: str, file: Path, model: Classifier) -> Teacher:
        teacher = load_model(file)
        takes, given = resolve_model_data_config(teacher), resolve_model_data_config(model)
        _check_size(source, takes, given)
        order = _order(source, teacher.class_names, model.class_names)
        teacher = teacher.inference_model().eval().requires_grad_(False)
        if self.device.type == "cpu":
            use_plain_attention(teacher)
        teacher = teacher.to(self.device).to(memory_format=torch.channels_last)
        return Teacher(teacher, order, *(each.to(self.device) for each in _renormalization(given, takes)))

    @torch.no_grad()
    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return training targets: the weighted mean of labels and the teachers' mean probabilities.

        Args:
            images: Augmented images (B, C, H, W).
            labels: Their labels (B,) or targets (B, classes).

        Returns:
            Targets (B, classes).
        """
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = [teacher.logits(images) for teacher in self.networks]
        probabilities = torch.stack(logits).softmax(-1).mean(0)
        own = labels if labels.ndim == 2 else F.one_hot(labels, probabilities.shape[-1]).to(probabilities.dtype)
        return torch.lerp(own, probabilities, self.share)


def _order(source: str, names: Sequence[str], expected: Sequence[str]) -> list[int]:
    """A teacher's index of each class of the network."""
    if sorted(names) != sorted(expected):
        raise InputError(
            f"the teacher {source} has the classes {', '.join(names)}; expected those of the data, "
            f"{', '.join(expected)}"
        )
    return [names.index(name) for name in expected]


def _renormalization(given: Mapping[str, Any], takes: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Scale and shift (C, 1, 1) from pixels normalized in the given way to those that a teacher takes."""
    (mean, std), (other_mean, other_std) = (
        [torch.tensor(config[name]).view(-1, 1, 1) for name in ("mean", "std")] for config in (given, takes)
    )
    return std / other_std, (mean - other_mean) / other_std


def _check_size(source: str, takes: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    if takes["input_size"] != given["input_size"]:
        raise InputError(
            f"the teacher {source} takes images of {takes['input_size']} (channels, height, width), the network of "
            f"{given['input_size']}; expected a teacher with images of the same size, which gets the same images"
        )
