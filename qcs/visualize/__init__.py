"""Pictures of what a network does: confusion matrices, training curves and attention over faces."""

from qcs.visualize.attention import attention_rows
from qcs.visualize.confusion import confusion_matrices
from qcs.visualize.curves import loss_curves
from qcs.visualize.figure import save
from qcs.visualize.maps import Comparison, PairMaps, compare, upsample

__all__ = [
    "Comparison",
    "PairMaps",
    "attention_rows",
    "compare",
    "confusion_matrices",
    "loss_curves",
    "save",
    "upsample",
]
