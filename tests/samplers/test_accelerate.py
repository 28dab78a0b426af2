from __future__ import annotations

import warnings
from itertools import chain, islice
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, TensorDataset

from qcs.errors import InputError
from qcs.samplers import ClassBatchSampler, ImageSampler, PairSampler, QuadrupletSampler
from qcs.samplers.branch_sampler import BranchSampler

SAMPLERS = [ImageSampler, PairSampler, QuadrupletSampler, ClassBatchSampler]
LABELS = np.arange(100) % 4

every_sampler = pytest.mark.parametrize("kind", SAMPLERS)


def prepared(sampler: BranchSampler, processes: int, process: int, **options: Any) -> Any:
    loader = DataLoader(TensorDataset(torch.arange(100)), batch_sampler=sampler)
    try:
        return prepare_data_loader(
            loader,
            torch.device("cpu"),
            num_processes=processes,
            process_index=process,
            put_on_device=False,
            rng_types=[],
            **options,
        )
    except ValueError as error:
        if "even_batches=False" in str(error):
            pytest.skip("this version of Accelerate refuses samplers without batch_size unless even_batches=False")
        raise


def batches(loader: Any) -> list[list[int]]:
    return [indices.tolist() for (indices,) in loader]


@every_sampler
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize(("size", "drop_last"), [(8, True), (5, True), (8, False), (5, False)])
def test_accelerate_gives_every_process_whole_batches_and_loses_none(
    kind: type[BranchSampler], processes: int, even: bool, size: int, drop_last: bool
) -> None:
    options: dict[str, Any] = {"drop_last": drop_last}
    if kind is ClassBatchSampler:
        if not drop_last:
            pytest.skip("it has whole batches only")
        options = {}
    whole = list(kind(LABELS, size, **options))
    loaders = [
        prepared(kind(LABELS, size, **options), processes, process, even_batches=even) for process in range(processes)
    ]
    seen = [batches(loader) for loader in loaders]
    assert [len(of_process) for of_process in seen] == [len(loader) for loader in loaders]
    assert {tuple(batch) for batch in chain(*seen)} <= {tuple(batch) for batch in whole}
    kept = len(whole) - len(whole) % processes if drop_last else len(whole)
    assert [seen[i % processes][i // processes] for i in range(kept)] == whole[:kept]
    if drop_last or even:
        assert len({len(of_process) for of_process in seen}) == 1


@every_sampler
def test_a_sampler_that_splits_by_itself_is_not_split_again(kind: type[BranchSampler]) -> None:
    for process in range(2):
        with pytest.raises(InputError, match=r"world_size 2 itself, .* create it without rank and world_size"):
            prepared(kind(LABELS, 8, rank=process, world_size=2), 2, process)


@every_sampler
def test_batches_are_not_cut_through_their_branches(kind: type[BranchSampler]) -> None:
    with pytest.raises(ValueError, match="split_batches"):
        prepared(kind(LABELS, 8), 2, 0, split_batches=True)


def test_one_process_keeps_every_batch() -> None:
    assert batches(prepared(PairSampler(LABELS, 8), 1, 0)) == list(PairSampler(LABELS, 8))


# ---- forgotten set_epoch


@every_sampler
def test_passes_without_set_epoch_warn_once_that_batches_repeat(kind: type[BranchSampler]) -> None:
    sampler = kind(LABELS, 5)
    with pytest.warns(UserWarning, match=rf"{kind.__name__} yields the batches of epoch 0 again.*set_epoch") as caught:
        passes = [list(sampler) for _ in range(4)]
    assert len(caught) == 1
    assert passes == [passes[0]] * 4


def test_a_part_of_a_pass_counts_and_a_look_at_the_first_batch_does_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler = PairSampler(LABELS, 5)
        next(iter(sampler))
        list(islice(sampler, 4))
        with pytest.raises(UserWarning, match="epoch 0 again"):
            list(sampler)


def test_a_loader_with_workers_warns_too() -> None:
    loader = DataLoader(TensorDataset(torch.arange(100)), batch_sampler=PairSampler(LABELS, 5), num_workers=1)
    with pytest.warns(UserWarning, match="epoch 0 again"):
        first, second = batches(loader), batches(loader)
    assert first == second


def test_passes_with_set_epoch_or_a_loaded_position_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler = QuadrupletSampler(LABELS, 5)
        for epoch in (0, 1, 1, 2):
            sampler.set_epoch(epoch)
            list(sampler)
        list(islice(PairSampler(LABELS, 5), 3))
        sampler.load_state_dict({"epoch": 2, "batch": 4})
        assert len(list(sampler)) == 16
        sampler.set_epoch(3)
        assert len(list(sampler)) == 20
