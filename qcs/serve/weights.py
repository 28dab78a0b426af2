"""The weights that the page answers with: the user's own, or those shipped with the package; always on this machine."""

from __future__ import annotations

from typing import cast

from qcs.engine.run_folder import weights_file
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, create_model, list_models, load_model, pretrained
from qcs.models.factory import SOURCES

EMBEDDED = ("qcs_small", "qcs_nano")  # the better first


def local_model(weights: str | None) -> CrossSimilarityNetwork:
    """The network to answer with, in evaluation mode.

    Args:
        weights: A run folder or a weights file; None for weights embedded in the package.

    Raises:
        InputError: If there are none, or they are not on this machine.
    """
    if weights is None:
        return cast(CrossSimilarityNetwork, create_model(embedded(), pretrained=True).eval())
    if weights.startswith(SOURCES):
        raise InputError(f"the page takes weights on this machine only, got {weights}; give a run folder or a file")
    return load_model(weights_file(weights))


def embedded() -> str:
    """Name of the network whose weights are in the package.

    Raises:
        InputError: If there are none.
    """
    for name in EMBEDDED:
        if name in list_models() and (pretrained.EMBEDDED / f"{pretrained.resolve(name, {})[0]}.safetensors").is_file():
            return name
    raise InputError(
        "no weights to answer with: none are embedded in the package; give a run folder or a weights file, as in "
        "'qcs serve runs/first', which 'qcs train' makes"
    )
