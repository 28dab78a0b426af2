"""The names of the classes that a network tells apart, and its calibration, saved with the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qcs.errors import InputError
from qcs.models.calibration import Calibration


class NamedClasses:
    """Adds the names of its classes to a network.

    Attributes:
        num_classes: Number of classes.
        pretrained_cfg: timm's metadata: preprocessing, label names, origin.
        default_cfg: The same, under timm's former name.
        calibration: What turns logits into calibrated probabilities; None without. `forward` returns logits as the
            weights give them; prediction, evaluation and export apply it. Training makes it stale: set it to None.
    """

    num_classes: int
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]
    calibration: Calibration | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in index order, or their numbers if no names are known."""
        names = self.pretrained_cfg.get("label_names") or range(self.num_classes)
        return tuple(map(str, names))

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Set the names of the classes, which are saved with the weights; a calibration is dropped.

        Args:
            names: Names in index order; None removes them.

        Raises:
            InputError: If there are not as many names as classes.
        """
        if names is not None and len(names) != self.num_classes:
            raise InputError(f"expected {self.num_classes} class names, got {len(names)}: {', '.join(names)}")
        cfg = {**self.pretrained_cfg, "num_classes": self.num_classes, "label_names": names and tuple(names)}
        self.calibration = None  # it was fitted to the classes before
        self.pretrained_cfg = self.default_cfg = {key: value for key, value in cfg.items() if value is not None}
