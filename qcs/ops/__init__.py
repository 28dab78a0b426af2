"""How the cross-similarity operator runs: the eager reference, which is its definition, and the choice of a backend."""

from qcs.ops.choice import BACKENDS as BACKENDS
from qcs.ops.choice import choose as choose
