"""Batches of arrays that several threads wait for, computed one batch after the other."""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future

import numpy as np

_POLL_SECONDS = 0.1


class Batches:
    """A function on batches, for callers that have single arrays.

    One thread computes. It takes what waits when it is free, of one shape, and never
    waits for more. A single array is a batch of one; another batch that is not full
    repeats its last array: so a shape has two programs at most. Results depend on an
    array alone, but for rounding.

    Args:
      compute: Function from [B, ...] to an array of B results.
      size: B.
    """

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray], size: int):
        self._compute, self._size = compute, size
        self._waiting: list[tuple[np.ndarray, Future]] = []
        self._lock = threading.Lock()
        # Ends with this object or with the process, whichever is first.
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def map(
        self, arrays: Iterable[np.ndarray], check: Callable[[], None] = lambda: None
    ) -> Iterator[np.ndarray]:
        """Results of arrays, in their order.

        At most two batches of this caller wait at once, so that memory stays flat.

        Args:
          arrays: Drawn from as results are asked for.
          check: Called a few times a second while a result is waited for; an exception
            of it leaves the rest.
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
        """Computes one batch, if an earlier one has not taken all that waited."""
        taken = self._take()
        if not taken:
            return
        arrays, futures = zip(*taken)
        if len(arrays) > 1:
            arrays += arrays[-1:] * (self._size - len(arrays))
        try:
            results = self._compute(np.stack(arrays))
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            for future in futures:
                future.set_exception(error)
        else:
            for future, result in zip(futures, results):
                future.set_result(result)

    def _take(self) -> list[tuple[np.ndarray, Future]]:
        """Up to a batch of what waits, of the first one's shape; drops the cancelled."""
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
    """Returns when the future is done; `check` may end the waiting."""
    while not future.done():
        check()
        concurrent.futures.wait([future], _POLL_SECONDS)
