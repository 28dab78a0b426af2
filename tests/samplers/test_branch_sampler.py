from __future__ import annotations

import json
import random
import warnings
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from qcs.errors import InputError
from qcs.samplers import ClassBatchSampler, ImageSampler, PairSampler, QuadrupletSampler
from qcs.samplers.branch_sampler import BranchSampler

SAMPLERS = [ImageSampler, PairSampler, QuadrupletSampler]
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [50, 35, 15]))

every_sampler = pytest.mark.parametrize("kind", SAMPLERS)


def blocks(batch: list[int], branches: int) -> list[list[int]]:
    size = len(batch) // branches
    assert size * branches == len(batch)
    return [batch[i * size : (i + 1) * size] for i in range(branches)]


def joined(batches: list[list[int]], branches: int) -> list[tuple[int, ...]]:
    """The batches as one sequence of (a,), (a, p) or (a, p, n, n2)."""
    return [item for batch in batches for item in zip(*blocks(batch, branches), strict=True)]


def global_sequence(
    kind: type[BranchSampler], batch_size: int, world_size: int, **options: Any
) -> list[tuple[int, ...]]:
    """What all ranks see together, in the order of global batches."""
    samplers = [kind(LABELS, batch_size, rank=r, world_size=world_size, **options) for r in range(world_size)]
    return joined(list(chain.from_iterable(zip(*samplers, strict=True))), kind.branches)


# ---- anchors


@every_sampler
def test_each_image_is_an_anchor_once_per_epoch_without_balance(kind: type[BranchSampler]) -> None:
    anchors = [item[0] for item in joined(list(kind(LABELS, 10)), kind.branches)]
    assert sorted(anchors) == list(range(100))
    assert anchors != sorted(anchors)


@pytest.mark.parametrize(
    ("length", "fraction", "expected"),
    [(100, 0.5, 50), (99, 0.5, 49), (49, 1 / 49, 1), (100, 0.29, 29), (100, 1e-6, 1), (287, 1 / 12, 23)],
)
@pytest.mark.parametrize("balance", ["none", "class"])
def test_a_fraction_keeps_the_floor_but_at_least_one_anchor(
    length: int, fraction: float, expected: int, balance: Any
) -> None:
    sampler = ImageSampler(np.arange(length) % 3, 1, fraction=fraction, balance=balance)
    assert len(sampler) == len(list(sampler)) == expected


def test_without_balance_anchors_do_not_repeat_within_a_fraction() -> None:
    anchors = list(chain.from_iterable(ImageSampler(LABELS, 1, fraction=0.6)))
    assert len(set(anchors)) == 60


def test_class_balance_draws_classes_evenly_and_images_evenly_within() -> None:
    sampler = ImageSampler(LABELS, 100, balance="class")
    seen = np.zeros(100)
    for epoch in range(600):
        sampler.set_epoch(epoch)
        np.add.at(seen, next(iter(sampler)), 1)
    expected = 60_000 / 3 / np.bincount(LABELS)[LABELS]
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert abs(statistic - 99) < 5 * np.sqrt(2 * 99)


def test_gaps_in_the_labels_draw_no_absent_class() -> None:
    plain = ImageSampler(LABELS, 10, balance="class")
    assert list(ImageSampler(LABELS * 1000 - 7, 10, balance="class")) == list(plain)


@pytest.mark.parametrize("balance", ["none", "class"])
def test_all_samplers_visit_the_same_anchors_and_positives(balance: Any) -> None:
    images, pairs, quadruplets = (
        joined(list(kind(LABELS, 10, balance=balance, seed=3, fraction=0.7)), kind.branches) for kind in SAMPLERS
    )
    assert images == [pair[:1] for pair in pairs]
    assert pairs == [quadruplet[:2] for quadruplet in quadruplets]


# ---- randomness


@pytest.mark.parametrize("kind", [*SAMPLERS, ClassBatchSampler])
def test_batches_depend_on_seed_and_epoch_alone(kind: type[BranchSampler]) -> None:
    first, second = kind(LABELS, 10, seed=5), kind(LABELS, 10, seed=5)
    for epoch in (0, 4):
        first.set_epoch(epoch)
        second.set_epoch(epoch)
        random.seed(epoch)
        np.random.seed(epoch)
        torch.manual_seed(epoch)
        assert list(first) == list(second) == list(first)


def test_another_seed_or_epoch_gives_other_batches() -> None:
    seen = set()
    for seed in (0, 1, 2**32):
        for epoch in range(3):
            for kind in (QuadrupletSampler, ClassBatchSampler):
                sampler = kind(LABELS, 10, seed=seed)
                sampler.set_epoch(epoch)
                seen.add(tuple(chain.from_iterable(sampler)))
    assert len(seen) == 18


def test_global_random_state_is_left_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    list(QuadrupletSampler(LABELS, 10, balance="class"))
    list(ClassBatchSampler(LABELS, 10))
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


# ---- ranks


@every_sampler
@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("balance", ["none", "class"])
def test_every_world_size_goes_through_the_same_global_order(
    kind: type[BranchSampler], world_size: int, balance: Any
) -> None:
    alone = global_sequence(kind, 5, 1, balance=balance)
    together = global_sequence(kind, 5, world_size, balance=balance)
    assert together == alone[: len(together)]
    assert len(together) == 100 - 100 % (5 * world_size)


def test_a_rank_takes_its_own_slice_of_each_global_batch() -> None:
    whole = [blocks(batch, 4) for batch in QuadrupletSampler(LABELS, 12)]
    for rank in range(3):
        own = [blocks(batch, 4) for batch in QuadrupletSampler(LABELS, 4, rank=rank, world_size=3)]
        assert own == [[block[4 * rank : 4 * rank + 4] for block in batch] for batch in whole]


def test_ranks_share_no_anchor() -> None:
    shares = [set(chain.from_iterable(ImageSampler(LABELS, 7, rank=r, world_size=3))) for r in range(3)]
    assert [len(share) for share in shares] == [28, 28, 28]
    assert len(set.union(*shares)) == 84


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
@pytest.mark.parametrize("fraction", [0.35, 0.36, 0.39, 0.4, 0.41, 1.0])
def test_last_global_batch_is_shared_evenly_or_dropped(
    fraction: float, batch_size: int, world_size: int, drop_last: bool
) -> None:
    ranks = [
        [
            len(batch)
            for batch in ImageSampler(
                LABELS, batch_size, fraction=fraction, rank=r, world_size=world_size, drop_last=drop_last
            )
        ]
        for r in range(world_size)
    ]
    rest = round(100 * fraction) % (batch_size * world_size)
    full = round(100 * fraction) // (batch_size * world_size)
    kept = not drop_last and rest >= world_size
    lengths = {
        len(ImageSampler(LABELS, batch_size, fraction=fraction, rank=r, world_size=world_size, drop_last=drop_last))
        for r in range(world_size)
    }
    assert lengths == {full + kept} == {len(sizes) for sizes in ranks}
    assert all(size == batch_size for sizes in ranks for size in sizes[:full])
    if kept:
        last = [sizes[-1] for sizes in ranks]
        assert sum(last) == rest
        assert max(last) - min(last) <= 1


def test_shared_last_batch_continues_the_global_order() -> None:
    alone = global_sequence(QuadrupletSampler, 1, 1)
    assert global_sequence(QuadrupletSampler, 7, 3, drop_last=False) == alone


# ---- resuming


@every_sampler
@pytest.mark.parametrize("done", [0, 1, 6, 10])
def test_a_loaded_sampler_continues_with_the_batches_that_would_have_followed(
    kind: type[BranchSampler], done: int
) -> None:
    whole = kind(LABELS, 10, seed=2, balance="class")
    whole.set_epoch(3)
    iterator = iter(whole)
    assert len(list(islice(iterator, done))) == done
    state = json.loads(json.dumps(whole.state_dict()))
    assert (state["epoch"], state["batch"]) == (3, done)

    resumed = kind(LABELS, 10, seed=2, balance="class")
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    resumed.set_epoch(3)  # a training loop names the epoch it is in
    assert list(resumed) == list(iterator)
    assert list(resumed) == list(whole)  # once only: the next iteration is the whole epoch
    assert resumed.state_dict()["batch"] == 10


def test_the_state_of_one_rank_serves_the_others() -> None:
    first, second = (PairSampler(LABELS, 5, rank=r, world_size=2) for r in range(2))
    rest = list(second)[4:]
    list(islice(first, 4))
    second.load_state_dict(first.state_dict())
    assert list(second) == rest


def test_a_count_kept_by_the_caller_is_enough_to_resume() -> None:
    sampler = PairSampler(LABELS, 10)
    sampler.set_epoch(1)
    rest = list(sampler)[4:]
    sampler.load_state_dict({"epoch": 1, "batch": 4})
    assert list(sampler) == rest


def test_an_abandoned_epoch_starts_again_at_its_first_batch() -> None:
    sampler = PairSampler(LABELS, 10)
    beginning = list(islice(sampler, 3))
    assert sampler.state_dict()["batch"] == 3
    assert list(sampler)[:3] == beginning


def test_another_epoch_starts_at_its_first_batch() -> None:
    sampler = PairSampler(LABELS, 10)
    sampler.load_state_dict({"epoch": 1, "batch": 4})
    sampler.set_epoch(2)
    assert sampler.state_dict()["batch"] == 0
    assert len(list(sampler)) == 10


DIFFERENCES = {
    "seed": {"seed": 1},
    "batch_size": {"batch_size": 11},
    "world_size": {"world_size": 2},
    "balance": {"balance": "class"},
    "fraction": {"fraction": 0.5},
    "drop_last": {"drop_last": False},
    "length": {"labels": LABELS[:-1]},
    "labels_crc32": {"labels": LABELS[::-1]},
    "negatives": {"negatives": "class"},
}


@pytest.mark.parametrize(("name", "change"), DIFFERENCES.items(), ids=DIFFERENCES.keys())
def test_a_state_of_another_configuration_is_refused_naming_the_difference(name: str, change: dict[str, Any]) -> None:
    state = QuadrupletSampler(**{"labels": LABELS, "batch_size": 10, **change}).state_dict()
    sampler = QuadrupletSampler(LABELS, 10)
    with pytest.raises(InputError, match=rf"another configuration.*\b{name} is {state[name]!r} in the state"):
        sampler.load_state_dict(state)
    assert sampler.state_dict()["batch"] == 0


def test_a_state_of_another_kind_of_sampler_is_refused() -> None:
    with pytest.raises(InputError, match="sampler is 'QuadrupletSampler' in the state and 'PairSampler' here"):
        PairSampler(LABELS, 10).load_state_dict(QuadrupletSampler(LABELS, 10).state_dict())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"epoch": 1}, "lacks batch"),
        ({}, "lacks batch, epoch"),
        ({"epoch": 0, "batch": 11}, "batch of the sampler state must be an integer from 0 to 10, got 11"),
        ({"epoch": -1, "batch": 0}, "epoch of the sampler state must be an integer at least 0, got -1"),
    ],
)
def test_an_unusable_state_is_refused(state: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageSampler(LABELS, 10).load_state_dict(state)


# ---- arguments

BAD_ARGUMENTS = [
    ({"batch_size": 0}, "batch_size must be an integer at least 1, got 0"),
    ({"batch_size": 2.0}, "batch_size must be an integer at least 1, got 2.0"),
    ({"fraction": 0}, "fraction must be a number above 0 and at most 1, got 0"),
    ({"fraction": 1.5}, "fraction must be a number above 0 and at most 1, got 1.5"),
    ({"fraction": 1.5, "balance": "class"}, "fraction must be"),
    ({"fraction": float("nan")}, "fraction must be a number above 0 and at most 1, got nan"),
    ({"fraction": "half"}, "fraction must be a number above 0 and at most 1, got 'half'"),
    ({"seed": -1}, "seed must be an integer at least 0, got -1"),
    ({"world_size": 0}, "world_size must be an integer at least 1, got 0"),
    ({"rank": 2, "world_size": 2}, "rank must be an integer from 0 to 1, got 2"),
    ({"rank": -1}, "rank must be an integer from 0 to 0, got -1"),
    ({"balance": "classes"}, "balance must be one of none, class, square-root; got 'classes'"),
]


@every_sampler
@pytest.mark.parametrize(("arguments", "message"), BAD_ARGUMENTS)
def test_arguments_out_of_range_are_refused_by_name(
    kind: type[BranchSampler], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        kind(**{"labels": LABELS, "batch_size": 10, **arguments})


def test_a_negative_epoch_is_refused() -> None:
    with pytest.raises(InputError, match="epoch must be an integer at least 0, got -1"):
        ImageSampler(LABELS, 10).set_epoch(-1)


def test_settings_that_leave_no_batch_are_refused_with_the_numbers() -> None:
    with pytest.raises(InputError, match=r"50 anchors \(fraction 0.5 of 100 images\).* 26 x world_size 2 .*needs 52"):
        ImageSampler(LABELS, 26, fraction=0.5, world_size=2)
    with pytest.raises(InputError, match=r"2 anchors .* world_size 3 with drop_last=False needs 3"):
        ImageSampler(LABELS, 26, fraction=0.02, world_size=3, drop_last=False)


def test_classes_of_one_image_bring_one_warning_that_names_them() -> None:
    labels = ["sad", "sad", "fear", "happy", "happy", "anger"]
    for kind in (PairSampler, QuadrupletSampler):
        with pytest.warns(UserWarning, match="only one image in class 'anger', 'fear'") as caught:
            sampler = kind(labels, 2)
        assert len(caught) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            list(sampler)


def test_a_long_list_of_classes_of_one_image_is_cut_short() -> None:
    with pytest.warns(UserWarning, match="class 0, 1, 2, 3, 4, 5, 6, 7 and 92 more"):
        PairSampler(range(100), 2)


def test_nothing_warns_without_partners_or_without_single_images() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageSampler(["sad", "fear"], 1)
        QuadrupletSampler(LABELS, 1)


# ---- DataLoader


def test_a_data_loader_follows_set_epoch() -> None:
    dataset = torch.arange(100) * 10
    sampler = QuadrupletSampler(LABELS, 8)
    loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=sampler)
    assert len(loader) == 12
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        epochs.append([batch.tolist() for batch in loader])
        assert epochs[-1] == [[10 * i for i in batch] for batch in sampler]
    assert epochs[0] != epochs[1]


def test_with_prefetching_workers_the_count_of_the_caller_resumes_exactly() -> None:
    sampler = ImageSampler(LABELS, 10)
    whole = list(sampler)
    loader: DataLoader[Any] = DataLoader(range(100), batch_sampler=sampler, num_workers=1)
    consumed = [batch.tolist() for batch in islice(loader, 3)]
    assert consumed == whole[:3]
    assert sampler.state_dict()["batch"] > 3  # why the sampler's own count would skip batches
    sampler.load_state_dict({"epoch": 0, "batch": len(consumed)})
    assert [batch.tolist() for batch in loader] == whole[3:]
