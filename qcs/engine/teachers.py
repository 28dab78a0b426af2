"""Targets that trained networks have a say in: distillation from teachers.

Votes of a few people are a noisy target. The mean of what they said and what trained networks say is a steadier one
(Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, arXiv 1503.02531).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config
from torch.utils.data import DataLoader

from qcs.data import LabelledImages, eval_transform
from qcs.engine.mirrored import Mirrored
from qcs.engine.run_folder import weights_file
from qcs.errors import InputError
from qcs.models import load_model

BATCH = 256


def taught(
    images: LabelledImages,
    teachers: Sequence[str],
    share: float,
    *,
    soft_labels: bool = False,
    device: torch.device | str = "cpu",
) -> LabelledImages:
    """The images with targets of which a share is the teachers' mean probability, and the rest their own.

    Teachers see each image as it is and in the mirror, without augmentation; the targets stay the same over the run.

    Args:
        images: The training images.
        teachers: Weights files or what stands for them, see `weights_file`.
        share: Weight of the teachers, in [0, 1].
        soft_labels: Whether the images' own target is their soft one, or 1 for their label.
        device: Where the teachers compute.

    Raises:
        InputError: If there is no such file, or a teacher has other classes than the images.
    """
    own = images.soft if soft_labels and images.soft is not None else np.eye(len(images.classes))[images.labels]
    said = np.mean([_probabilities(teacher, images, device) for teacher in teachers], axis=0)
    changed = copy.copy(images)
    changed.soft = ((1 - share) * own + share * said).astype(np.float32)
    return changed


@torch.inference_mode()
def _probabilities(teacher: str, images: LabelledImages, device: torch.device | str) -> npt.NDArray[np.float32]:
    """What a teacher says of each image (n, classes), in the order of the images' classes."""
    model = load_model(weights_file(teacher))
    if sorted(model.class_names) != sorted(images.classes):
        raise InputError(
            f"the teacher {teacher} knows the classes {', '.join(model.class_names)}; expected those of the data, "
            f"{', '.join(images.classes)}"
        )
    look = Mirrored(model).to(device).eval()
    batches = DataLoader(images.with_transform(eval_transform(resolve_model_data_config(model))), BATCH)
    found = torch.cat([look(batch.to(device)).exp().cpu() for batch, _ in batches])
    return found[:, [model.class_names.index(name) for name in images.classes]].numpy()
