"""Losses of Quadruplet Cross Similarity, and objectives of its peers."""

from qcs.losses.ada_df import AdaDFLoss as AdaDFLoss
from qcs.losses.ada_df import AdaDFOutput as AdaDFOutput
from qcs.losses.dan import DANLoss as DANLoss
from qcs.losses.dan import DANOutput as DANOutput
from qcs.losses.ddamfn import DDAMFNLoss as DDAMFNLoss
from qcs.losses.ddamfn import DDAMFNOutput as DDAMFNOutput
from qcs.losses.distillation import kl_distillation as kl_distillation
from qcs.losses.distillation import l2_distillation as l2_distillation
from qcs.losses.gsdnet import GSDNetLoss as GSDNetLoss
from qcs.losses.gsdnet import GSDNetOutput as GSDNetOutput
from qcs.losses.joint import JointLoss as JointLoss
from qcs.losses.label_smoothing import ClassifierLoss as ClassifierLoss
from qcs.losses.lnsu import LNSULoss as LNSULoss
from qcs.losses.lnsu import LNSUOutput as LNSUOutput
from qcs.losses.mfer import MFERLoss as MFERLoss
