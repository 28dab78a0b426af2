from __future__ import annotations

from qcs.samplers import ImageSampler


def test_a_batch_is_its_anchors_alone() -> None:
    assert [len(batch) for batch in ImageSampler([0, 1] * 10, 8, drop_last=False)] == [8, 8, 4]


def test_one_class_is_enough() -> None:
    assert sorted(next(iter(ImageSampler([0, 0, 0], 3)))) == [0, 1, 2]


def test_square_root_balance_lies_between_the_images_and_the_classes() -> None:
    labels = [0] * 900 + [1] * 100
    shares = {}
    for balance in ("none", "square-root", "class"):
        drawn = [index for batch in ImageSampler(labels, 100, balance=balance, seed=1) for index in batch]
        shares[balance] = sum(index >= 900 for index in drawn) / len(drawn)
    assert shares["none"] == 0.1
    assert abs(shares["square-root"] - 10 / 40) < 0.04 and abs(shares["class"] - 0.5) < 0.05
