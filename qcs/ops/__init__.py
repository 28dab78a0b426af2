"""Backends of the cross-similarity operators: the eager reference defines them, two others compute them faster.

`analytic` is the closed form in PyTorch, for every device; `triton` is the closed form as fused GPU kernels.
"""

from qcs.ops.dispatch import BACKENDS as BACKENDS
from qcs.ops.dispatch import choose as choose
