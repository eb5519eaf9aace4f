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

from ttl_jax.data.files import decoding, encoding

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
    restore: Callable[..., np.ndarray],
    *,
    check_pixels: Callable[[int], None] = lambda num_pixels: None,
    must_stop: Callable[[], bool] = lambda: False,
    shows_progress: bool = True,
) -> Outcome:
    """Restores each photograph; one that fails does not keep the rest from being done.

    Threads take a photograph each from file to file, so that some are read and written
    while the network restores windows of others.

    Args:
      jobs: What to restore and where to; existing targets are replaced.
      restore: Function from pixels to restored pixels, with the argument `progress`, as
        `Restorer.restore`.
      check_pixels: Raises where a photograph has too many pixels, as
        `Restorer.check_pixels`; called before it is decoded.
      must_stop: Asked before each photograph is begun and several times a second while
        it is restored. From the first yes on, photographs that are not restored yet are
        left.
      shows_progress: Whether there is a progress bar where a person watches.
    """
    bar = _Bar(len(jobs), shows_progress)
    line = _Line(restore, check_pixels, must_stop, bar)
    outcome = Outcome()
    pool = concurrent.futures.ThreadPoolExecutor(_NUM_THREADS)
    try:
        for future in _submit(pool, line, jobs):
            match future.result():
                case Restored() as restored:
                    outcome.restored.append(restored)
                case str() as failure:
                    outcome.failures.append(failure)
                case None:  # left
                    pass
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    outcome.ended_by = line.ended_by
    return outcome


class _Left(Exception):
    """A photograph is not restored because the run ends."""


class _Bar:
    """A progress bar of windows that threads share; only in a terminal.

    The number of all windows counts the photographs begun, and takes the rest to have as
    many on average: to read the size of each file first would delay the first one.
    """

    def __init__(self, num_photographs: int, is_shown: bool):
        self._num_photographs = num_photographs
        self._num_begun = self._num_windows = 0
        self._lock = threading.Lock()
        self._bar = tqdm.tqdm(unit="window", disable=None if is_shown else True)

    def begin(self, num_windows: int) -> None:
        """Counts a photograph, restored by so many windows."""
        with self._lock:
            self._num_begun += 1
            self._num_windows += num_windows
            mean = self._num_windows / self._num_begun
            self._bar.total = round(mean * self._num_photographs)

    def advance(self, num_windows: int) -> None:
        """Counts windows that are done."""
        with self._lock:
            self._bar.update(num_windows)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


class _Line:
    """What happens to one photograph after the other, in several threads at once.

    Attributes:
      ended_by: As of an `Outcome`.
    """

    def __init__(
        self,
        restore: Callable[..., np.ndarray],
        check_pixels: Callable[[int], None],
        must_stop: Callable[[], bool],
        bar: _Bar,
    ):
        self.ended_by: str | None = None
        self._restore, self._check_pixels = restore, check_pixels
        self._must_stop, self._bar = must_stop, bar
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
        self._check_going_on()
        num_pixels = decoding.count_pixels(job.source)
        self._check_pixels(num_pixels)
        with self._memory.hold(num_pixels):
            self._check_going_on()
            array, info = decoding.read_image(job.source)
            restored = self._restore(array, progress=self._watch())
            computed = time.monotonic()
            self._write(job.target, restored, info)
        return Restored(computed, time.monotonic(), array.shape[0] * array.shape[1])

    def _watch(self) -> Callable[[int, int], None]:
        """The `progress` of one photograph: shows it, and ends it if the run ends."""
        shown = None

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if shown is None:
                self._bar.begin(total)
                shown = 0
            self._bar.advance(done - shown)
            shown = done
            if done < total:
                self._check_going_on()

        return progress

    def _write(self, target: str, array: np.ndarray, info: dict[str, Any]) -> None:
        try:
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            encoding.write_image(target, array, info)
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
