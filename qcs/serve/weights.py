"""The weights that the page answers with: the user's own, or those shipped with the package; always on this machine."""

from __future__ import annotations

from pathlib import Path

from qcs.engine.run_folder import weights_file
from qcs.errors import InputError
from qcs.models.factory import SOURCES


def local_weights(weights: str) -> Path:
    """The file of the weights to answer with.

    Args:
        weights: A run folder, a weights file, or the name of a network with weights in the package.

    Raises:
        InputError: If there are none, or they are not on this machine.
    """
    if weights.startswith(SOURCES):
        raise InputError(f"the page takes weights on this machine only, got {weights}; give a run folder or a file")
    return weights_file(weights)
