from __future__ import annotations

from qcs.samplers import ImageSampler


def test_a_batch_is_its_anchors_alone() -> None:
    assert [len(batch) for batch in ImageSampler([0, 1] * 10, 8, drop_last=False)] == [8, 8, 4]


def test_one_class_is_enough() -> None:
    assert sorted(next(iter(ImageSampler([0, 0, 0], 3)))) == [0, 1, 2]
