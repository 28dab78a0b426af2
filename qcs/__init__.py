"""Quadruplet Cross Similarity for facial expression recognition (AAAI 2025, arXiv 2411.01988).

Layers, losses and samplers to use in any network, and models registered with timm. Training, data, faces and figures
live in `qcs.engine`, `qcs.data`, `qcs.faces` and `qcs.visualize`, reports in `qcs.report`, deployment in `qcs.export`,
`qcs.publish` and `qcs.serve`; all of these load when used.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from qcs import data as data
    from qcs import engine as engine
    from qcs import export as export
    from qcs import faces as faces
    from qcs import publish as publish
    from qcs import report as report
    from qcs import serve as serve
    from qcs import visualize as visualize
else:
    _ON_USE = ("data", "engine", "export", "faces", "publish", "report", "serve", "visualize")

    def __getattr__(name: str) -> ModuleType:
        if name not in _ON_USE:
            raise AttributeError(f"module 'qcs' has no attribute {name!r}")
        return import_module(f"qcs.{name}")

    def __dir__() -> list[str]:
        return sorted({*(name for name in globals() if not name.startswith("_")), *_ON_USE, "__version__"})
