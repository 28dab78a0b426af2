"""Base of all samplers: anchors, batches, the split over ranks, and resuming within an epoch."""

from __future__ import annotations

import math
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, NoReturn, TypeAlias, get_args

import numpy as np
from torch.utils.data import Sampler

from qcs.errors import InputError, check_choice
from qcs.samplers._checks import check_fraction, check_integer
from qcs.samplers.class_index import ClassIndex, Indices, Labels

Balance: TypeAlias = Literal["none", "class", "square-root"]


class BranchSampler(Sampler[list[int]], ABC):
    """Base of the batch samplers: anchors first, then a block of partner images for each further branch.

    Iterating yields lists of `branches * B` dataset indices, `[anchors.., partners.., ...]`, for
    `DataLoader(dataset, batch_sampler=sampler)`. A subclass sets `branches` and draws the partners.

    **Randomness.** An epoch depends on (seed, epoch) only, never on global random state, and is drawn as a whole:
    anchors first, then each branch in turn. All samplers with equal arguments therefore use the same anchors,
    and pairs and quadruplets the same positives. (NumPy may change the stream of a `Generator` in a new release.)

    **Ranks.** The sequence of anchors and partners is the same on all ranks. It is cut into global batches of
    `world_size * batch_size` anchors; of a global batch with S anchors, rank r takes the entries from
    `S * r // world_size` up to `S * (r + 1) // world_size`, which is `batch_size` of them when the batch is full.

    **The incomplete last global batch** is dropped with `drop_last=True`. Otherwise it is split by the same rule, so
    the ranks differ by at most one anchor. It is still dropped when it has fewer anchors than there are ranks, because
    all ranks must yield the same number of batches and none may be empty.

    **Resuming.** `state_dict()` counts the batches *yielded* in this epoch. DataLoader workers prefetch, so that count
    is ahead of the batches that a training loop has consumed; a loop with workers saves its own count and passes
    `{"epoch": e, "batch": k}`. The state is the same on all ranks.

    **Epochs.** Call `set_epoch` before each one. Without it a second pass yields the same batches, and a warning says
    so once.

    **Other libraries.** Either this sampler splits the epoch over the processes (`rank` and `world_size`), or the
    library does. `Accelerator.prepare` gives whole batches to the processes: leave `rank` and `world_size` at their
    defaults, because both together raise `InputError`. The sampler has no attribute `batch_size`, by which Accelerate
    would cut or fill up batches and mix the branches: it refuses `split_batches=True` and, before version 1.14,
    `even_batches=True`. Do not set `dispatch_batches=True`, which cuts batches too. Call `set_epoch` of the sampler and
    of the prepared loader. For Lightning, give `rank` and `world_size`, and `Trainer(use_distributed_sampler=False)`. A
    `DistributedSampler` around this sampler would split it a second time.

    Args:
        labels: One class per image of the dataset: all integers, or all names (strings), (N,).
        batch_size: Anchors per batch and rank; a batch holds `branches` times as many images.
        balance: Distribution of anchors. "none": a shuffle of the dataset, each image at most once per epoch. "class":
            each anchor is a uniform image of a uniform class, with repetition. "square-root": each anchor is a uniform
            image of a class drawn in proportion to the square root of its number of images (Kang et al., Decoupling
            Representation and Classifier for Long-Tailed Recognition, arXiv 1910.09217), with repetition.
        fraction: Anchors per epoch as a fraction of the dataset, in (0, 1]: floor(fraction * N) of them, at least one.
        seed: Seed of all random draws, at least 0.
        rank: Rank of this process, in [0, world_size).
        world_size: Number of processes that share each epoch.
        drop_last: Whether to drop the incomplete last global batch.

    Raises:
        InputError: If an argument is out of range, labels are invalid, or an epoch has no batch.
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
        self._anchors_per_batch = check_integer("batch_size", batch_size, low=1)
        self.balance = check_choice("balance", balance, get_args(Balance))
        self.fraction = check_fraction(fraction)
        self.seed = check_integer("seed", seed, low=0)
        self.world_size = check_integer("world_size", world_size, low=1)
        self.rank = check_integer("rank", rank, low=0, high=self.world_size - 1)
        self.drop_last = bool(drop_last)
        self.epoch = 0
        self._yielded = 0
        self._resume_at = 0
        self._may_repeat = True  # until the warning that batches repeat was given
        if len(self) == 0:
            raise InputError(self._why_no_batch())
        if self.branches > 1:
            self._warn_about_single_images()

    @abstractmethod
    def _draw_partners(self, rng: np.random.Generator, anchors: Indices) -> tuple[Indices, ...]:
        """Return one array of image indices for each branch after the anchors, (M,) → (M,) each."""

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch, equal on all ranks; a resumed epoch yields fewer."""
        full, rest = divmod(self._num_anchors, self._global_batch_size)
        return full + (not self.drop_last and rest >= self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the epoch from the first one or, once, from a position set by `load_state_dict`."""
        # A generator consumes a loaded position with its first batch, not with `iter` alone: a DataLoader with
        # workers calls `iter` twice and discards the first iterator.
        first, self._resume_at = self._resume_at, 0
        if not first:
            self._warn_about_repetition()
        indices = self._draw_epoch()
        for batch in range(first, len(self)):
            self._yielded = batch + 1
            yield indices[:, self._own_part(batch)].ravel().tolist()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; setting the current epoch again keeps a loaded position."""
        epoch = check_integer("epoch", epoch, low=0)
        if epoch != self.epoch:
            self._move_to(epoch, batch=0)
        elif not self._resume_at:
            self._yielded = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, the batches yielded in it, and the configuration; plain values that JSON can hold."""
        return {"epoch": self.epoch, "batch": self._yielded, **self._configuration()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the next iteration after the batches that the state counts.

        Args:
            state: Result of `state_dict`, or only "epoch" and "batch" as counted by the caller, with "batch" in
                [0, len(sampler)]. All other entries must agree with this sampler.

        Raises:
            InputError: If an entry is missing, out of range, or of another configuration.
        """
        missing = {"epoch", "batch"} - state.keys()
        if missing:
            raise InputError(f"sampler state lacks {', '.join(sorted(missing))}; it needs epoch and batch")
        self._refuse_other_configuration(state)
        epoch = check_integer("epoch of the sampler state", state["epoch"], low=0)
        batch = check_integer("batch of the sampler state", state["batch"], low=0, high=len(self))
        self._move_to(epoch, batch)

    @property
    def batch_size(self) -> NoReturn:
        """Missing, so that no other library cuts or fills up batches by their size.

        Raises:
            InputError: If a library such as Accelerate asks although this sampler splits the epoch over ranks already.
            AttributeError: Else.
        """
        if self.world_size > 1:
            raise InputError(
                f"this {type(self).__name__} splits each epoch over world_size {self.world_size} itself, and another "
                "library would split it again: create it without rank and world_size, or do not prepare its loader"
            )
        raise AttributeError(f"{type(self).__name__} has no attribute 'batch_size': batches hold whole branches")

    @property
    def _num_anchors(self) -> int:
        # The small addend compensates rounding: 1/49 * 49 is just below 1.
        return max(1, math.floor(self.fraction * len(self.classes) + 1e-9))

    @property
    def _global_batch_size(self) -> int:
        return self.world_size * self._anchors_per_batch

    def _draw_epoch(self) -> Indices:
        """Return the indices of the epoch over all ranks, (branches, anchors)."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(self.epoch,)))
        anchors = self._draw_anchors(rng)
        return np.stack([anchors, *self._draw_partners(rng, anchors)])

    def _draw_anchors(self, rng: np.random.Generator) -> Indices:
        if self.balance == "none":
            return rng.permutation(len(self.classes))[: self._num_anchors]
        counts = self.classes.counts
        if self.balance == "class":
            return self.classes.draw_members(rng, rng.integers(0, len(counts), size=self._num_anchors))
        roots = np.sqrt(counts)
        return self.classes.draw_members(rng, rng.choice(len(counts), self._num_anchors, p=roots / roots.sum()))

    def _own_part(self, batch: int) -> slice:
        """Return the slice of the epoch with this rank's anchors of a global batch."""
        start = batch * self._global_batch_size
        size = min(self._global_batch_size, self._num_anchors - start)
        return slice(start + size * self.rank // self.world_size, start + size * (self.rank + 1) // self.world_size)

    def _move_to(self, epoch: int, batch: int) -> None:
        self.epoch = epoch
        self._yielded = self._resume_at = batch

    def _configuration(self) -> dict[str, Any]:
        """Return all settings that determine the batches, except the rank: one state is valid on all ranks."""
        return {
            "sampler": type(self).__name__,
            "length": len(self.classes),
            "labels_crc32": zlib.crc32(self.classes.codes.tobytes()),
            "batch_size": self._anchors_per_batch,
            "balance": self.balance,
            "fraction": self.fraction,
            "seed": self.seed,
            "world_size": self.world_size,
            "drop_last": self.drop_last,
        }

    def _refuse_other_configuration(self, state: Mapping[str, Any]) -> None:
        own = self._configuration()
        differences = [
            f"{name} is {value!r} in the state and {own.get(name)!r} here"
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
            f"images), but batch_size {self._anchors_per_batch} x world_size {self.world_size} with "
            f"drop_last={self.drop_last} needs {needed}; lower batch_size or world_size, or raise fraction"
        )

    def _warn_about_repetition(self) -> None:
        """Warn once if the same epoch begins again after more than a look at its first batch."""
        if self._may_repeat and self._yielded > 1:
            self._may_repeat = False
            warnings.warn(
                f"{type(self).__name__} yields the batches of epoch {self.epoch} again; call sampler.set_epoch(epoch) "
                "before each epoch to draw others",
                stacklevel=3,
            )

    def _warn_about_single_images(self) -> None:
        alone = self.classes.names[self.classes.counts == 1].tolist()
        if alone:
            more = f" and {len(alone) - 8} more" if len(alone) > 8 else ""
            warnings.warn(
                f"{type(self).__name__}: only one image in class {', '.join(map(repr, alone[:8]))}{more}; "
                "it is its own partner",
                stacklevel=2,
            )
