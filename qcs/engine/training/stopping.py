"""Stop a training on SIGINT (Ctrl-C) and SIGTERM (clusters send it): after the step, so that it can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal ended the training.

    Attributes:
        signal: Its number; `128 + signal` is the exit status that a shell expects.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.signal = number


class StopSignals:
    """Receive SIGINT and SIGTERM; a context that puts the handlers before it back.

    A signal raises `Stopped` at once, but within `deferred` the first one is only noted in `received`. Signals reach
    the main thread alone: in another thread this does nothing.

    Attributes:
        received: Number of the first signal; None before.

    Example:
        >>> import signal
        >>> with StopSignals() as stop, stop.deferred():
        ...     signal.raise_signal(signal.SIGTERM)
        >>> stop.received == signal.SIGTERM
        True
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._deferred = False
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # A handler of the caller's, or a signal that a background job ignores, stays as it is.
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._handlers.callback(signal.signal, number, signal.signal(number, self._receive))
        return self

    def __exit__(self, *_: object) -> None:
        self._handlers.close()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note the first signal instead of raising; the caller looks at `received`. A second one raises."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._deferred and self.received is None:
            self.received = number
            return
        raise Stopped(number)
