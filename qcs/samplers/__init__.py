"""Batch samplers of indices for any labeled dataset: single images, pairs and quadruplets."""

from qcs.samplers.image_sampler import ImageSampler
from qcs.samplers.pair_sampler import PairSampler
from qcs.samplers.quadruplet_sampler import QuadrupletSampler

__all__ = ["ImageSampler", "PairSampler", "QuadrupletSampler"]
