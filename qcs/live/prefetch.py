"""Read pictures ahead in a thread, so that decoding overlaps with the rest."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator

from qcs.faces import Picture

AHEAD = 4  # pictures that wait at most


class Prefetch(Iterator[tuple[Picture, float]]):
    """Iterate over pictures and the time at which each was read (`time.perf_counter`).

    Args:
        pictures: The pictures. An error of theirs is raised in its place.
        newest: Whether pictures that wait are dropped for newer ones, so that the delay of a camera does not grow.
    """

    def __init__(self, pictures: Iterator[Picture], *, newest: bool = False) -> None:
        self._queue: queue.Queue[tuple[Picture, float] | BaseException | None] = queue.Queue(1 if newest else AHEAD)
        self._newest, self._ended = newest, threading.Event()
        threading.Thread(target=self._read, args=(pictures,), daemon=True).start()

    def __next__(self) -> tuple[Picture, float]:
        item = self._queue.get()
        if isinstance(item, tuple):
            return item
        self._queue.put(item)  # the end stays the end
        if item is None:
            raise StopIteration
        raise item

    def close(self) -> None:
        """Stop reading."""
        self._ended.set()

    def _read(self, pictures: Iterator[Picture]) -> None:
        try:
            for picture in pictures:
                if not self._put((picture, time.perf_counter())):
                    return
                del picture
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: tuple[Picture, float] | BaseException | None) -> bool:
        """Put an item into the queue; return False if nobody waits for it any more."""
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                if self._newest and isinstance(item, tuple):
                    self._drop()
            else:
                return True
        return False

    def _drop(self) -> None:
        with contextlib.suppress(queue.Empty):
            self._queue.get_nowait()
