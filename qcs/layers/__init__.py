"""Layers of Quadruplet Cross Similarity, for use in any network."""

from qcs.layers.branch_norm import BranchBatchNorm2d as BranchBatchNorm2d
from qcs.layers.branch_norm import branches_at_once as branches_at_once
from qcs.layers.branch_norm import convert_branch_batch_norm as convert_branch_batch_norm
from qcs.layers.channel_gate import ChannelGate as ChannelGate
from qcs.layers.cross_module import DualCrossModule as DualCrossModule
from qcs.layers.cross_module import QuadrupletCrossModule as QuadrupletCrossModule
from qcs.layers.cross_similarity import CrossSimilarityAttention as CrossSimilarityAttention
from qcs.layers.cross_similarity import QuadrupletCrossSimilarityAttention as QuadrupletCrossSimilarityAttention
from qcs.layers.cross_similarity import ScaledDotProductCrossAttention as ScaledDotProductCrossAttention
from qcs.layers.distance_attention import DistanceAttention as DistanceAttention
from qcs.layers.exemplar_cross_module import ExemplarCrossModule as ExemplarCrossModule
from qcs.layers.level_tokens import LevelTokens as LevelTokens
from qcs.layers.residual_distillation import ContrastiveResidualDistillation as ContrastiveResidualDistillation
from qcs.layers.token_transformer import TokenTransformer as TokenTransformer
