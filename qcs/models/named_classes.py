"""The names of the classes that a network tells apart, kept in timm's metadata and saved with the weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qcs.errors import InputError


class NamedClasses:
    """Adds the names of its classes to a network.

    Attributes:
        num_classes: Number of classes.
        pretrained_cfg: timm's metadata: preprocessing, label names, origin.
        default_cfg: The same, under timm's former name.
    """

    num_classes: int
    pretrained_cfg: dict[str, Any]
    default_cfg: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in index order, or their numbers if no names are known."""
        names = self.pretrained_cfg.get("label_names") or range(self.num_classes)
        return tuple(map(str, names))

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Set the names of the classes, which are saved with the weights.

        Args:
            names: Names in index order; None removes them.

        Raises:
            InputError: If there are not as many names as classes.
        """
        if names is not None and len(names) != self.num_classes:
            raise InputError(f"expected {self.num_classes} class names, got {len(names)}: {', '.join(names)}")
        cfg = {**self.pretrained_cfg, "num_classes": self.num_classes, "label_names": names and tuple(names)}
        self.pretrained_cfg = self.default_cfg = {key: value for key, value in cfg.items() if value is not None}
