"""How the cross-similarity operators run: the eager reference, which is their definition, and two faster backends.

`analytic` is the closed form in PyTorch, for every device; `triton` the same in a few GPU kernels.
"""

from qcs.ops.dispatch import BACKENDS as BACKENDS
from qcs.ops.dispatch import choose as choose
