"""Check and explain what loader processes need of the machine: shared memory, and to stay alive."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from qcs.errors import InputError

SHARED_MEMORY = Path("/dev/shm")  # where PyTorch's loader processes pass batches on Linux
PREFETCHED = 2  # batches per loader process, PyTorch's default
SIGNAL_DELAY = 0.2  # seconds within which the signal of a dead process arrives
_LOST = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([^.]+)\.|exited unexpectedly)"
)


def check_shared_memory(workers: int, batch_bytes: int, processes: int = 1) -> None:
    """Check that the batches which loader processes prepare fit into shared memory, where a full one blocks for ever.

    Args:
        workers: Loader processes of one training process.
        batch_bytes: Size of the largest batch.
        processes: Training processes on this machine.

    Raises:
        InputError: If they do not fit; the message says how many loader processes do.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return
    system = os.statvfs(SHARED_MEMORY)
    free = system.f_bavail * system.f_frsize
    in_use = processes * batch_bytes  # the batch that is trained on
    needed = workers * processes * PREFETCHED * batch_bytes + in_use
    if needed <= free:
        return
    fitting = max(0, (free - in_use) // (processes * PREFETCHED * batch_bytes))
    raise InputError(
        f"{workers} loader processes need up to {_megabytes(needed)} MB of shared memory, {SHARED_MEMORY} has "
        f"{_megabytes(free)} MB free: use --workers {fitting}, a smaller batch, or give the container more shared "
        "memory (docker run --shm-size=4g)"
    )


class LostWorkerError(InputError):
    """A loader process ended before its work was done."""


@contextlib.contextmanager
def explain_lost_worker() -> Iterator[None]:
    """Raise a `LostWorkerError` that says what to do where a loader process died."""
    try:
        yield
    except RuntimeError as error:  # PyTorch raises nothing more specific
        if (lost := _LOST.search(str(error))) is None:
            raise
        how = f"was ended by a signal ({lost[2]})" if lost[2] else "ended unexpectedly"
        raise _lost(f"loader process {lost[1]} {how}") from error
    except (ConnectionError, EOFError) as error:  # it died while it handed over a batch
        with contextlib.suppress(RuntimeError):  # PyTorch reports the death by a signal: let it come now, not later
            time.sleep(SIGNAL_DELAY)
        raise _lost("a loader process ended unexpectedly") from error


def _lost(what: str) -> LostWorkerError:
    return LostWorkerError(
        f"{what}, perhaps by a lack of memory: use fewer loader processes, or none (--workers in a new run, workers in "
        "the config.json of a run to resume)"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}"
