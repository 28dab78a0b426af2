"""Backends of the cross-similarity operators: the eager reference defines them, three others compute them faster.

`analytic` is the closed form in PyTorch, for every device; `compiled` is the same under `torch.compile`; `triton` is
the closed form as fused GPU kernels.
"""

from qcs.ops.dispatch import BACKENDS as BACKENDS
from qcs.ops.dispatch import backend as backend
from qcs.ops.dispatch import choose as choose
from qcs.ops.explanation import Explanation as Explanation
from qcs.ops.explanation import explain as explain
from qcs.ops.memory import memory_budget as memory_budget
