"""Reading ahead in threads, in order and with bounded memory: batches of coming steps, pieces of coming songs."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

#: Pieces of one song that wait to be taken; one more is in the making.
_PIECES_AHEAD = 1


def prefetched(make: Callable[[int], T], steps: range, workers: int) -> Generator[T]:
    """`make(step)` for each of `steps`, in their order, made by `workers` threads up to `workers` steps ahead.

    0 makes each when it is asked for. What `make` raises is raised in the place of its result. Closing the generator
    waits for the steps in the making and begins no others.
    """
    if workers < 1:
        yield from map(make, steps)
        return
    coming = iter(steps)
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="prefetch") as pool:
        try:
            for step in coming:
                waiting.append(pool.submit(make, step))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def read_ahead(sources: Sequence[Callable[[], Iterator[T]]], workers: int) -> Generator[Iterator[T]]:
    """An iterator for each of `sources`, in their order; the next `workers` sources already run, each in a thread.

    Each waits after `_PIECES_AHEAD` pieces until they are taken. A source that is left before its end is stopped. 0
    runs each source here, when its pieces are asked for.
    """
    if workers < 1:
        for source in sources:
            pieces = source()
            try:
                yield pieces
            finally:
                _close(pieces)
        return
    running: deque[_Run[T]] = deque()
    try:
        for source in sources:
            running.append(_Run(source))
            if len(running) > workers:
                yield from _taken(running)
        while running:
            yield from _taken(running)
    finally:
        for run in running:
            run.stop()


def _taken(running: deque[_Run[T]]) -> Iterator[Iterator[T]]:
    yield iter(running[0])
    running.popleft().stop()


@dataclass(frozen=True)
class _Raised:
    error: BaseException


class _End:
    """Comes after the last piece."""


class _Run(Generic[T]):
    """One source in a thread of its own."""

    def __init__(self, source: Callable[[], Iterator[T]]) -> None:
        self._source = source
        self._room = threading.Semaphore(_PIECES_AHEAD)
        self._ready: queue.SimpleQueue[T | _Raised | _End] = queue.SimpleQueue()
        self._stopped = False
        # A daemon: an interpreter that ends does not wait for a song to be read.
        self._thread = threading.Thread(target=self._work, name="read-ahead", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            pieces = self._source()
            try:
                for piece in pieces:
                    self._room.acquire()
                    if self._stopped:
                        return
                    self._ready.put(piece)
            finally:
                _close(pieces)
            self._ready.put(_End())
        except BaseException as error:  # it belongs to whoever takes the pieces
            self._ready.put(_Raised(error))

    def __iter__(self) -> Iterator[T]:
        while not isinstance(piece := self._ready.get(), _End):
            self._room.release()
            if isinstance(piece, _Raised):
                raise piece.error
            yield piece

    def stop(self) -> None:
        self._stopped = True
        self._room.release()
        self._thread.join()


def _close(pieces: Iterator[T]) -> None:
    """Let a generator close what it has open."""
    if isinstance(pieces, Generator):
        pieces.close()
