"""Losses of Quadruplet Cross Similarity: joint cross entropy and knowledge distillation."""

from qcs.losses.distillation import kl_distillation as kl_distillation
from qcs.losses.distillation import l2_distillation as l2_distillation
from qcs.losses.joint import JointLoss as JointLoss
