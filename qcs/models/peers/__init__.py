"""Networks of other methods, written from descriptions and checked against their published implementations."""

from qcs.models.peers import ada_df, dan, ddamfn, gsdnet, lnsu, mfer, poster, poster_v2
from qcs.models.peers.ada_df import AdaDF as AdaDF
from qcs.models.peers.dan import DAN as DAN
from qcs.models.peers.ddamfn import DDAMFN as DDAMFN
from qcs.models.peers.gsdnet import GSDNet as GSDNet
from qcs.models.peers.lnsu import LNSUNet as LNSUNet
from qcs.models.peers.mfer import MFER as MFER
from qcs.models.peers.peer import PeerNetwork as PeerNetwork
from qcs.models.peers.poster import Poster as Poster
from qcs.models.peers.poster_v2 import PosterV2 as PosterV2

MODULES = (dan, ddamfn, ada_df, poster_v2, poster, lnsu, gsdnet, mfer)
"""The modules that register names."""

CLASSES: dict[str, type[PeerNetwork]] = {
    "ada_df_resnet18": AdaDF,
    "dan_resnet18": DAN,
    "ddamfn": DDAMFN,
    "gsdnet_resnet50": GSDNet,
    "lnsu_swin_tiny": LNSUNet,
    "mfer_convnext_base": MFER,
    **dict.fromkeys(("poster_ir50", "poster_ir50_base", "poster_ir50_small"), Poster),
    **dict.fromkeys(("poster_v2_ir50", "poster_v2_ir50_nolm"), PosterV2),
}
"""The class of each registered name."""
