"""Targets that trained networks have a say in: distillation from teachers.

Votes of a few people are a noisy target. The mean of what they said and what trained networks say is a steadier one
(Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531). Teachers look at the very
pixels that the network is about to learn from, crop, turn and blanks included, so what they say fits them (Beyer et
al., Knowledge Distillation: A Good Teacher Is Patient and Consistent, arXiv 2106.05237).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.nn import functional as F

from qcs.engine.hardware import use_plain_attention
from qcs.engine.run_folder import weights_file
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.models.inference import Precision, fast_inference_model

SEEN = ("input_size", "mean", "std")  # what makes the same pixels mean the same to two networks


class Teachers:
    """Trained networks that say what a batch of images shows.

    Args:
        sources: Weights files or what stands for them, see `weights_file`.
        share: Weight of the teachers in the targets, in [0, 1]; the labels have the rest.
        model: The network to be taught, with the classes of the labels.
        device: Where the teachers compute.
        precision: What they compute in.

    Raises:
        InputError: If there is no such file, or a teacher has other classes or takes other images than the network.
    """

    def __init__(
        self,
        sources: Sequence[str],
        share: float,
        model: CrossSimilarityNetwork,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> None:
        self.share, self.dtype = share, torch.bfloat16 if precision == "bf16" else torch.float32
        self.networks: list[tuple[CrossSimilarityNetwork, list[int]]] = []
        for source in sources:
            teacher = load_model(weights_file(source))
            order = _order(source, teacher, model)
            teacher = fast_inference_model(teacher, precision).to(device)
            if torch.device(device).type == "cpu":
                use_plain_attention(teacher)
            self.networks.append((teacher, order))

    @torch.no_grad()
    def targets(self, images: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Probabilities to learn: the teachers' mean and the labels, each with its share.

        Args:
            images: Of every branch (B, C, H, W), augmented.
            labels: Their labels (branches, B) or targets (branches, B, classes).

        Returns:
            Targets (branches, B, classes).
        """
        seen = torch.cat(list(images)).to(self.dtype)
        said = torch.stack([network(seen).float().softmax(-1)[:, order] for network, order in self.networks]).mean(0)
        own = labels if labels.ndim == 3 else F.one_hot(labels, said.shape[-1]).to(said.dtype)
        return torch.lerp(own, said.view(own.shape), self.share)


def _order(source: str, teacher: CrossSimilarityNetwork, model: CrossSimilarityNetwork) -> list[int]:
    """Where a teacher has each of the network's classes."""
    if sorted(teacher.class_names) != sorted(model.class_names):
        raise InputError(
            f"the teacher {source} knows the classes {', '.join(teacher.class_names)}; expected those of the data, "
            f"{', '.join(model.class_names)}"
        )
    takes, expected = resolve_model_data_config(teacher), resolve_model_data_config(model)
    differing = [f"{key} {takes[key]} instead of {expected[key]}" for key in SEEN if takes[key] != expected[key]]
    if differing:
        raise InputError(
            f"the teacher {source} sees the images that are trained on, but takes others: {', '.join(differing)}; "
            "expected a teacher with the input of the network"
        )
    return [teacher.class_names.index(name) for name in model.class_names]
