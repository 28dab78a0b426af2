"""The classes of networks that can be trained, saved and evaluated alike."""

from __future__ import annotations

from typing import TypeAlias

from qcs.models.network import CrossSimilarityNetwork
from qcs.models.peers import PeerNetwork
from qcs.models.timm_classifier import TimmClassifier

Classifier: TypeAlias = CrossSimilarityNetwork | PeerNetwork | TimmClassifier
"""A network of this library: classes with names, `model_args`, `branches`, `inference_model`, `reset_classifier`."""
