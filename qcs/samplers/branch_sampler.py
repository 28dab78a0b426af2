"""What every sampler here shares: anchors, batches, shares of the ranks, and resuming in mid-epoch."""

from __future__ import annotations

import math
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
from torch.utils.data import Sampler

from qcs.errors import InputError
from qcs.samplers._checks import check_choice, check_fraction, check_integer
from qcs.samplers.class_index import ClassIndex, Indices, Labels

Balance: TypeAlias = Literal["none", "class"]


class BranchSampler(Sampler[list[int]], ABC):
    """Base of the batch samplers: anchors first, then a block of companions for each further branch.

    Iterating yields lists of `branches * B` dataset indices, `[anchors.., companions.., ...]`, ready for
    `DataLoader(dataset, batch_sampler=sampler)`. A subclass sets `branches` and draws the companions.

    **Randomness.** An epoch depends on (seed, epoch) alone, never on global random state, and is drawn whole: anchors
    first, then each branch in turn. All samplers with equal arguments therefore visit the same anchors, and the pairs
    and quadruplets the same positives. (NumPy may change a `Generator` method's stream in a new release.)

    **Ranks.** The sequence of anchors and companions is the same on all ranks. It is cut into global batches of
    `world_size * batch_size` anchors; of a global batch with S anchors, rank r takes the entries from
    `S * r // world_size` up to `S * (r + 1) // world_size`, which is `batch_size` of them when the batch is full.

    **The incomplete last global batch** is dropped with `drop_last=True`. Otherwise it is shared by the same rule, so
    the ranks differ by at most one anchor; it is still dropped when it has fewer anchors than there are ranks, because
    all ranks must yield the same number of batches and none may be empty.

    **Resuming.** `state_dict()` counts the batches *yielded* in this epoch. DataLoader workers prefetch, so that count
    runs ahead of the batches a training loop has consumed; a loop with workers saves its own count instead and passes
    `{"epoch": e, "batch": k}`. The state is the same on all ranks.

    Args:
        labels: One class per image of the dataset: all integers, or all names (strings), (N,).
        batch_size: Anchors per batch and rank; a batch holds `branches` times as many images.
        balance: How anchors are chosen. "none": a shuffle of the dataset, each image at most once per epoch. "class":
            each anchor is a uniform image of a uniform class, with repetition.
        fraction: Anchors per epoch as a share of the dataset, in (0, 1]: floor(fraction * N) of them, at least one.
        seed: Non-negative.
        rank: This process, in [0, world_size).
        world_size: Number of processes that share each epoch.
        drop_last: Whether to leave out the incomplete last global batch.

    Raises:
        InputError: An argument out of range, unusable labels, or settings that leave no batch at all.
    """

    branches: ClassVar[int]

    def __init__(
        self,
        labels: Labels,
        batch_size: int,
        *,
        balance: Balance = "none",
        fraction: float = 1.0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = True,
    ) -> None:
        self.classes = ClassIndex(labels)
        self.batch_size = check_integer("batch_size", batch_size, low=1)
        self.balance = check_choice("balance", balance, get_args(Balance))
        self.fraction = check_fraction(fraction)
        self.seed = check_integer("seed", seed, low=0)
        self.world_size = check_integer("world_size", world_size, low=1)
        self.rank = check_integer("rank", rank, low=0, high=self.world_size - 1)
        self.drop_last = bool(drop_last)
        self.epoch = 0
        self._yielded = 0
        self._resume_at = 0
        if len(self) == 0:
            raise InputError(self._why_no_batch())
        if self.branches > 1:
            self._warn_of_single_images()

    @abstractmethod
    def _draw_companions(self, rng: np.random.Generator, anchors: Indices) -> tuple[Indices, ...]:
        """One array for each branch after the anchors', (M,) → (M,) each."""

    def __len__(self) -> int:
        """Batches in a whole epoch, the same on all ranks; a resumed epoch yields the rest of them."""
        full, rest = divmod(self._num_anchors, self._global_batch_size)
        return full + (not self.drop_last and rest >= self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Start the epoch at its first batch, or once at the batch that `load_state_dict` has set."""
        # A generator, so that a loaded position is used up by the first batch asked for and not by `iter` alone:
        # a DataLoader with workers calls `iter` twice and throws the first iterator away.
        first, self._resume_at = self._resume_at, 0
        indices = self._draw_epoch()
        for batch in range(first, len(self)):
            self._yielded = batch + 1
            yield indices[:, self._own_share(batch)].ravel().tolist()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws; naming the current one keeps a loaded position."""
        epoch = check_integer("epoch", epoch, low=0)
        if epoch != self.epoch:
            self._move_to(epoch, batch=0)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, batches yielded in it, and the configuration they belong to; plain values, fit for JSON."""
        return {"epoch": self.epoch, "batch": self._yielded, **self._configuration()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next iteration continue after the batches that the state counts.

        Args:
            state: What `state_dict` returned, or just "epoch" and "batch" as counted by the caller, with "batch" in
                [0, len(sampler)]. Entries beyond these two must agree with this sampler.

        Raises:
            InputError: An entry is missing, out of range, or of another configuration.
        """
        missing = {"epoch", "batch"} - state.keys()
        if missing:
            raise InputError(f"sampler state lacks {', '.join(sorted(missing))}; it needs epoch and batch")
        self._refuse_other_configuration(state)
        epoch = check_integer("epoch of the sampler state", state["epoch"], low=0)
        batch = check_integer("batch of the sampler state", state["batch"], low=0, high=len(self))
        self._move_to(epoch, batch)

    @property
    def _num_anchors(self) -> int:
        # The small addend undoes rounding: 1/49 of 49 images comes out just below 1.
        return max(1, math.floor(self.fraction * len(self.classes) + 1e-9))

    @property
    def _global_batch_size(self) -> int:
        return self.world_size * self.batch_size

    def _draw_epoch(self) -> Indices:
        """The epoch's indices over all ranks, (branches, anchors)."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.epoch,)))
        anchors = self._draw_anchors(rng)
        return np.stack([anchors, *self._draw_companions(rng, anchors)])

    def _draw_anchors(self, rng: np.random.Generator) -> Indices:
        if self.balance == "none":
            return rng.permutation(len(self.classes))[: self._num_anchors]
        return self.classes.draw_members(rng, rng.integers(0, len(self.classes.counts), size=self._num_anchors))

    def _own_share(self, batch: int) -> slice:
        """Where this rank's anchors of a global batch stand in the epoch."""
        start = batch * self._global_batch_size
        size = min(self._global_batch_size, self._num_anchors - start)
        return slice(start + size * self.rank // self.world_size, start + size * (self.rank + 1) // self.world_size)

    def _move_to(self, epoch: int, batch: int) -> None:
        self.epoch = epoch
        self._yielded = self._resume_at = batch

    def _configuration(self) -> dict[str, Any]:
        """All that decides which batches come, except the rank: one state serves all ranks."""
        return {
            "sampler": type(self).__name__,
            "length": len(self.classes),
            "labels_crc32": zlib.crc32(self.classes.codes.tobytes()),
            "batch_size": self.batch_size,
            "balance": self.balance,
            "fraction": self.fraction,
            "seed": self.seed,
            "world_size": self.world_size,
            "drop_last": self.drop_last,
        }

    def _refuse_other_configuration(self, state: Mapping[str, Any]) -> None:
        own = self._configuration()
        differences = [
            f"{name} is {value!r} there and {own.get(name)!r} here"
            for name, value in state.items()
            if name not in ("epoch", "batch") and value != own.get(name)
        ]
        if differences:
            raise InputError(
                f"sampler state belongs to another configuration: {'; '.join(differences)}; "
                "build the sampler with the arguments it was saved with"
            )

    def _why_no_batch(self) -> str:
        needed = self._global_batch_size if self.drop_last else self.world_size
        return (
            f"no batch in an epoch: {self._num_anchors} anchors (fraction {self.fraction:g} of {len(self.classes)} "
            f"images), but batch_size {self.batch_size} x world_size {self.world_size} with "
            f"drop_last={self.drop_last} needs {needed}; lower batch_size or world_size, or raise fraction"
        )

    def _warn_of_single_images(self) -> None:
        alone = self.classes.names[self.classes.counts == 1].tolist()
        if alone:
            more = f" and {len(alone) - 8} more" if len(alone) > 8 else ""
            warnings.warn(
                f"{type(self).__name__}: only one image in class {', '.join(map(repr, alone[:8]))}{more}; "
                "it is its own companion there",
                stacklevel=2,
            )
