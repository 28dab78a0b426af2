"""Quadruplet Cross Similarity for facial expression recognition (AAAI 2025, arXiv 2411.01988).

Layers, losses and samplers to use in any network, and models registered with timm. Training, data, faces and pictures
live in `qcs.engine`, `qcs.data`, `qcs.faces` and `qcs.visualize`, deployment in `qcs.export` and `qcs.publish`; all of
these load when used.
"""

from importlib import import_module
from types import ModuleType

from qcs import functional as functional
from qcs import layers as layers
from qcs import losses as losses
from qcs import models as models
from qcs import samplers as samplers
from qcs.models import create_model as create_model
from qcs.models import list_models as list_models
from qcs.models import load_checkpoint as load_checkpoint
from qcs.models import load_model as load_model
from qcs.version import __version__ as __version__


def __getattr__(name: str) -> ModuleType:
    if name not in ("data", "engine", "export", "faces", "hub", "visualize"):
        raise AttributeError(f"module 'qcs' has no attribute {name!r}")
    return import_module(f"qcs.{name}")
