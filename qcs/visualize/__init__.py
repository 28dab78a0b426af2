"""Pictures of what a network does: confusion matrices, training curves and attention over faces."""

from qcs.visualize.attention import attention_rows
from qcs.visualize.confusion import confusion_matrices
from qcs.visualize.curves import loss_curves
from qcs.visualize.figure import save
from qcs.visualize.reliability import reliability_diagram

__all__ = ["attention_rows", "confusion_matrices", "loss_curves", "reliability_diagram", "save"]
