"""Batch samplers of indices for any labeled dataset: single images, pairs, quadruplets, and every class."""

from qcs.samplers.class_batch_sampler import ClassBatchSampler
from qcs.samplers.image_sampler import ImageSampler
from qcs.samplers.pair_sampler import PairSampler
from qcs.samplers.quadruplet_sampler import QuadrupletSampler

__all__ = ["ClassBatchSampler", "ImageSampler", "PairSampler", "QuadrupletSampler"]
