"""Networks of other methods, written from descriptions and checked against their published implementations."""

from qcs.models.peers import ada_df, dan, ddamfn
from qcs.models.peers.ada_df import AdaDF as AdaDF
from qcs.models.peers.dan import DAN as DAN
from qcs.models.peers.ddamfn import DDAMFN as DDAMFN

MODULES = (dan, ddamfn, ada_df)
"""The modules that register names."""
