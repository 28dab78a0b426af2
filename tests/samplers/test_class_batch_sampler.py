from __future__ import annotations

import json
from collections import Counter
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest

from qcs.errors import InputError
from qcs.samplers import ClassBatchSampler

COUNTS = np.array([70, 31, 12, 3])
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], COUNTS))
SIZE = 9


def classes_of(batch: list[int]) -> list[int]:
    return LABELS[batch].tolist()


@pytest.mark.parametrize("size", [4, 5, 9, 29])
def test_every_batch_begins_with_one_image_of_each_class(size: int) -> None:
    batches = list(ClassBatchSampler(LABELS, size))
    assert batches
    for batch in batches:
        assert len(batch) == len(set(batch)) == size
        assert classes_of(batch)[:4] == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [4, 5, 9, 29])
def test_an_epoch_has_each_image_once_except_those_of_rare_classes(size: int) -> None:
    sampler = ClassBatchSampler(LABELS, size)
    seen = Counter(chain.from_iterable(sampler))
    rare = [code for code in range(4) if COUNTS[code] < len(sampler)]
    for code in range(4):
        times = [seen[image] for image in np.flatnonzero(code == LABELS)]
        if code in rare:
            assert sum(times) == len(sampler)  # one in each batch
            assert max(times) - min(times) <= 1
        else:
            assert set(times) <= {0, 1}
    left_out = len(LABELS) - len(seen)
    assert 0 <= left_out < size or size == 4  # batches of exemplars alone end with the largest class


def test_one_more_batch_would_lack_images() -> None:
    for size in range(5, 30):
        batches = len(ClassBatchSampler(LABELS, size))
        assert batches * size <= np.maximum(COUNTS, batches).sum()
        assert (batches + 1) * size > np.maximum(COUNTS, batches + 1).sum()


def test_classes_appear_in_proportion() -> None:
    sampler, seen = ClassBatchSampler(LABELS, 29), Counter[int]()
    for epoch in range(50):
        sampler.set_epoch(epoch)
        seen.update(classes_of(list(chain.from_iterable(sampler))))
    total = sum(seen.values())
    for code in range(3):  # the fourth has one image in each of few batches
        assert abs(seen[code] / total - COUNTS[code] / COUNTS.sum()) < 0.02


def test_exemplars_are_spread_over_the_images_of_a_class() -> None:
    sampler, seen = ClassBatchSampler(LABELS, SIZE), np.zeros(len(LABELS))
    for epoch in range(400):
        sampler.set_epoch(epoch)
        np.add.at(seen, [batch[0] for batch in sampler], 1)
    expected = 400 * len(sampler) / 70
    statistic = ((seen[LABELS == 0] - expected) ** 2 / expected).sum()
    assert statistic < 69 + 5 * np.sqrt(2 * 69)


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_rank_has_every_class_and_all_ranks_go_through_the_same_order(world_size: int) -> None:
    ranks = [list(ClassBatchSampler(LABELS, SIZE, rank=rank, world_size=world_size)) for rank in range(world_size)]
    together = list(chain.from_iterable(zip(*ranks, strict=True)))
    alone = list(ClassBatchSampler(LABELS, SIZE))
    assert together == alone[: len(alone) - len(alone) % world_size]


def test_a_fraction_is_the_beginning_of_the_epoch() -> None:
    whole = list(ClassBatchSampler(LABELS, SIZE))
    assert list(ClassBatchSampler(LABELS, SIZE, fraction=0.5)) == whole[: len(whole) // 2]
    assert list(ClassBatchSampler(LABELS, SIZE, fraction=0.001)) == whole[:1]


def test_names_are_in_their_order() -> None:
    labels = ["sad", "happy", "fear", "happy"]
    sampler = ClassBatchSampler(labels, 3)
    assert sampler.classes.names.tolist() == ["fear", "happy", "sad"]
    assert [labels[image] for image in next(iter(sampler))] == ["fear", "happy", "sad"]


def test_a_loaded_sampler_continues_with_the_batches_that_would_have_followed() -> None:
    whole = ClassBatchSampler(LABELS, SIZE, seed=2)
    whole.set_epoch(3)
    iterator = iter(whole)
    list(islice(iterator, 4))
    resumed = ClassBatchSampler(LABELS, SIZE, seed=2)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    assert list(resumed) == list(iterator)
    with pytest.raises(InputError, match="seed is 2 in the state and 1 here"):
        ClassBatchSampler(LABELS, SIZE, seed=1).load_state_dict(whole.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 3}, "batch_size must be at least 4, one image of each class, got 3"),
        ({"world_size": 100}, "no batch in an epoch: 14 batches of 9 images for world_size 100"),
        ({"fraction": 0}, "fraction must be"),
        ({"seed": -1}, "seed must be an integer at least 0"),
        ({"batch_size": 200}, "no batch in an epoch"),
    ],
    ids=str,
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClassBatchSampler(**{"labels": LABELS, "batch_size": SIZE, **arguments})
