"""Computes batches of arrays from several threads, one batch after another."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

import numpy as np

_POLL_SECONDS = 0.1


class Batches:
    """Lets threads call a function of batches with single arrays.

    One thread computes. When it is free, it takes the waiting arrays of one shape, without
    waiting for more. A single array is a batch of one. Any other batch is filled up by
    repeating its last array, so that each shape has at most two compiled programs. A result
    depends only on its own array, up to rounding.

    Args:
      compute: Function from [B, ...] to an array of B results.
      size: Largest batch B.
    """

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray], size: int):
        self._compute, self._size = compute, size
        self._waiting: list[tuple[np.ndarray, Future]] = []
        self._lock = threading.Lock()
        # The thread ends with this object or with the process.
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def map(
        self, arrays: Iterable[np.ndarray], check: Callable[[], None] = lambda: None
    ) -> Iterator[np.ndarray]:
        """Yields the results of arrays, in their order.

        At most two batches of a caller wait at once, which bounds the memory.

        Args:
          arrays: Arrays, which are read as results are needed.
          check: Function called several times a second while waiting; its exceptions
            cancel the remaining arrays.
        """
        pending = collections.deque()
        try:
            for array in arrays:
                pending.append(self._submit(array))
                if len(pending) == 2 * self._size:
                    _wait(pending[0], check)
                    yield pending.popleft().result()
            while pending:
                _wait(pending[0], check)
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _submit(self, array: np.ndarray) -> Future:
        future = Future()
        with self._lock:
            self._waiting.append((array, future))
        self._thread.submit(self._compute_next)
        return future

    def _compute_next(self) -> None:
        """Computes one batch, unless earlier batches have taken all waiting arrays."""
        taken = self._take()
        if not taken:
            return
        arrays, futures = zip(*taken)
        if len(arrays) > 1:
            arrays += arrays[-1:] * (self._size - len(arrays))
        try:
            results = self._compute(np.stack(arrays))
        except BaseException as error:  # noqa: BLE001 (raised by `map`)
            for future in futures:
                future.set_exception(error)
        else:
            for future, result in zip(futures, results):
                future.set_result(result)

    def _take(self) -> list[tuple[np.ndarray, Future]]:
        """Takes up to a batch of waiting arrays of one shape; drops cancelled ones."""
        taken, left = [], []
        with self._lock:
            for array, future in self._waiting:
                fits = not taken or array.shape == taken[0][0].shape
                if not fits or len(taken) == self._size:
                    left.append((array, future))
                elif future.set_running_or_notify_cancel():
                    taken.append((array, future))
            self._waiting = left
        return taken


def _wait(future: Future, check: Callable[[], None]) -> None:
    """Waits until the future is done, or `check` raises."""
    while not future.done():
        check()
        concurrent.futures.wait([future], _POLL_SECONDS)
