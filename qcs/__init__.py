"""Quadruplet Cross Similarity for facial expression recognition (AAAI 2025, arXiv 2411.01988).

Layers, losses and samplers for any network, and networks that are registered with timm. Every part is imported when it
is first used, so that `import qcs` and the command line start fast.
"""

from typing import TYPE_CHECKING

from qcs._registration import register_with_timm
from qcs.imports import lazy
from qcs.version import __version__ as __version__

if TYPE_CHECKING:
    from qcs import crossval as crossval
    from qcs import data as data
    from qcs import engine as engine
    from qcs import errors as errors
    from qcs import export as export
    from qcs import faces as faces
    from qcs import functional as functional
    from qcs import layers as layers
    from qcs import live as live
    from qcs import losses as losses
    from qcs import models as models
    from qcs import ops as ops
    from qcs import publish as publish
    from qcs import report as report
    from qcs import samplers as samplers
    from qcs import serve as serve
    from qcs import visualize as visualize
    from qcs.engine.predict_anything import predict as predict
    from qcs.models import create_model as create_model
    from qcs.models import list_models as list_models
    from qcs.models import load_checkpoint as load_checkpoint
    from qcs.models import load_model as load_model
else:
    parts = (
        "crossval",
        "data",
        "engine",
        "errors",
        "export",
        "faces",
        "functional",
        "layers",
        "live",
        "losses",
        "models",
        "ops",
    )
    parts += ("publish", "report", "samplers", "serve", "visualize")
    of_models = ("create_model", "list_models", "load_checkpoint", "load_model")
    homes = {**{name: name for name in parts}, **dict.fromkeys(of_models, "models")}
    __getattr__, __dir__ = lazy(__name__, {**homes, "predict": "engine.predict_anything"})
    del parts, of_models, homes

register_with_timm()
