"""Keep loader processes alive when a signal ends all processes of a run: the main process may need one more batch."""

from __future__ import annotations

import os
import signal
import threading


def leave_signals_to_main_process(worker: int = 0) -> None:
    """Ignore SIGINT and SIGTERM in a loader process unless the main process sends them; a `worker_init_fn`.

    A terminal sends Ctrl-C, and a cluster SIGTERM, to all processes of a run. The main process then finishes its step
    and saves a checkpoint, which needs the loader processes; it ends them itself. Where the system does not tell who
    sent a signal (macOS, Windows), SIGTERM ends the process.

    Args:
        worker: Number of the loader process; not used.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        # Blocked here and in every later thread, so that the signal reaches the thread that waits for it alone.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_obey, args=[os.getppid()], daemon=True).start()


def _obey(parent: int) -> None:
    """End the process at the first SIGTERM from its parent, or at any without it."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent == os.getppid():
        pass
    os._exit(0)  # as PyTorch's own handler does
