"""Restores photographs from file to file, several at once."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm
from absl import logging

from ttl_jax.data import decoding
from ttl_jax.inference import images

# Reading and writing take one core for each photograph, and there is some waiting.
_NUM_THREADS = min(os.cpu_count() or 1, 16) + 2
# In memory at once. A pixel takes up to 20 bytes here, while it is decoded or encoded,
# and of 16 bits and alpha 54.
_MOST_PIXELS = 2**26
# Photographs begun, done or waiting behind the one that is reported next.
_MOST_PENDING = 4096

# Of writing one photograph; the next ones would fail as well.
_ENDING_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Job(NamedTuple):
    """One photograph to restore.

    Attributes:
      source: The file to read.
      target: The file to write, in the same format.
    """

    source: str
    target: str


class Restored(NamedTuple):
    """When a photograph was restored, in seconds of `time.monotonic`.

    Attributes:
      computed: When the network was done with it.
      written: When its file was there.
      num_pixels: How many pixels it has.
    """

    computed: float
    written: float
    num_pixels: int


@dataclasses.dataclass
class Outcome:
    """What became of photographs.

    Attributes:
      restored: Those that were restored.
      failures: One line for each that failed, with its name, in the order of the jobs.
      ended_by: Why no photograph could be written from some time on, with the name of
        one, such as a full disk, or None. What was left then is no failure.
    """

    restored: list[Restored] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    ended_by: str | None = None

    def first_written(self) -> float:
        """When the first photograph was there; there must be one."""
        return min(one.written for one in self.restored)

    def rates(self) -> tuple[float, float] | None:
        """Photographs and pixels per second, None of fewer than two.

        Counted from the first that the network was done with, as until then its program
        is compiled.
        """
        if len(self.restored) < 2:
            return None
        first, *rest = sorted(self.restored)
        seconds = max(one.written for one in rest) - first.computed
        return len(rest) / seconds, sum(one.num_pixels for one in rest) / seconds


def restore_files(
    jobs: Sequence[Job],
    restore: Callable[[np.ndarray], np.ndarray],
    *,
    must_stop: Callable[[], bool] = lambda: False,
    shows_progress: bool = True,
) -> Outcome:
    """Restores each photograph; one that fails does not keep the rest from being done.

    Threads take a photograph each from file to file, so that while the network, which
    they share one at a time, is at work, others are read and written.

    Args:
      jobs: What to restore and where to; existing targets are replaced.
      restore: From pixels to restored pixels, as `Restorer.restore`.
      must_stop: Asked before each photograph is begun, and again before the network
        gets it; from the first yes on, what is not with the network yet is left.
      shows_progress: Whether there is a progress bar where a person watches.
    """
    line = _Line(restore, must_stop)
    outcome = Outcome()
    pool = concurrent.futures.ThreadPoolExecutor(_NUM_THREADS)
    # None: only in a terminal.
    bar = tqdm.tqdm(total=len(jobs), unit="image", disable=not shows_progress or None)
    try:
        for future in _submit(pool, line, jobs):
            match future.result():
                case Restored() as restored:
                    outcome.restored.append(restored)
                case str() as failure:
                    outcome.failures.append(failure)
                case None:  # left
                    continue
            bar.update()
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    outcome.ended_by = line.ended_by
    return outcome


class _Left(Exception):
    """A photograph is not restored because the run ends."""


class _Line:
    """What happens to one photograph after the other, in several threads at once.

    Attributes:
      ended_by: As of an `Outcome`.
    """

    def __init__(
        self,
        restore: Callable[[np.ndarray], np.ndarray],
        must_stop: Callable[[], bool],
    ):
        self.ended_by: str | None = None
        self._restore, self._must_stop = restore, must_stop
        self._network = threading.Lock()
        self._memory = _Memory(_MOST_PIXELS)

    def is_over(self) -> bool:
        """Whether no further photograph is to be begun."""
        return self.ended_by is not None or self._must_stop()

    def run(self, job: Job) -> Restored | str | None:
        """Restores one photograph; a line where that fails, None where it is left.

        An exception would keep the photograph in memory until its turn to be reported.
        """
        try:
            return self._restore_file(job)
        except _Left:
            return None
        except Exception as error:  # noqa: BLE001 (whatever it is, the rest goes on)
            logging.debug("Restoring %s failed:", job.source, exc_info=True)
            return _describe(job, error)

    def _restore_file(self, job: Job) -> Restored:
        with self._memory.hold(decoding.count_pixels(job.source)):
            self._check_going_on()
            array, info = decoding.read_image(job.source)
            with self._network:
                self._check_going_on()
                restored = self._restore(array)
                computed = time.monotonic()
            self._write(job.target, restored, info)
        return Restored(computed, time.monotonic(), array.shape[0] * array.shape[1])

    def _write(self, target: str, array: np.ndarray, info: dict[str, Any]) -> None:
        try:
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            images.write_image(target, array, info)
        except OSError as error:
            if error.errno not in _ENDING_ERRORS:
                raise
            name = decoding.printable(target)
            self.ended_by = f"{name} cannot be written: {error.strerror}"
            raise _Left from error

    def _check_going_on(self) -> None:
        if self.is_over():
            raise _Left


class _Memory:
    """Bounds the pixels that are in memory at once; one photograph always may be."""

    def __init__(self, most: int):
        self._most, self._held = most, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, num_pixels: int) -> Iterator[None]:
        """Waits until there is room for a photograph, and keeps it in the block."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._held or self._held + num_pixels <= self._most
            )
            self._held += num_pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_pixels
                self._changed.notify_all()


def _submit(
    pool: concurrent.futures.Executor, line: _Line, jobs: Iterable[Job]
) -> Iterator[concurrent.futures.Future]:
    """Begins the jobs, and yields each in their order, to be waited for."""
    pending = collections.deque()
    for job in jobs:
        if line.is_over():
            break
        pending.append(pool.submit(line.run, job))
        if len(pending) == _MOST_PENDING:
            yield pending.popleft()
    yield from pending


def _describe(job: Job, error: Exception) -> str:
    """One line on a failure, the photograph's name in it."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    name = decoding.printable(job.source)
    return reason if name in reason else f"{name}: {reason}"
