"""Restores files of photographs, several at once."""

import contextlib
import dataclasses
import errno
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttl_jax import progress, threads
from ttl_jax.data.files import decoding, encoding, metadata

_logger = logging.getLogger("ttl_jax")

# Reading and writing a photograph take one core each; some threads wait for the network.
_NUM_THREADS = min(threads.count_cpus(), 16) + 2
# Pixels in memory at once. While a photograph is decoded or encoded, a pixel takes up to
# 20 bytes, or 54 with 16 bits and alpha.
_MOST_PIXELS = 2**26
_MOST_PENDING = 4096  # photographs submitted to threads, or not yet reported

# Errors of writing that would occur for every later photograph too.
ENDING_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class Job(NamedTuple):
    """One photograph to restore.

    Attributes:
      source: Path of the file to read.
      target: Path of the file to write; its suffix is the format.
    """

    source: str
    target: str

    def __str__(self) -> str:
        """Returns printable text, since names may be bytes that are not UTF-8."""
        return " -> ".join(map(decoding.printable, self))


class Restored(NamedTuple):
    """A restored photograph; times are seconds of `time.monotonic`.

    Attributes:
      computed: Time when the network finished.
      written: Time when the file was complete.
      size: Height and width, in pixels.
      change: Mean absolute change of the pixels, of 255 levels.
      lost: Names of what the new file does not keep: metadata, 16 bits.
    """

    computed: float
    written: float
    size: tuple[int, int]
    change: float = 0.0
    lost: tuple[str, ...] = ()


@dataclasses.dataclass
class Outcome:
    """Results of a run.

    Attributes:
      restored: Restored photographs.
      failures: One line for each failed photograph, with its name, in the order of jobs.
      ended_by: Reason why writing became impossible, such as a full disk, or None. The
        remaining photographs are not failures.
    """

    restored: list[Restored] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)
    ended_by: str | None = None

    def first_written(self) -> float:
        """Returns the time when the first photograph was written; there must be one."""
        return min(one.written for one in self.restored)

    def rates(self) -> tuple[float, float] | None:
        """Returns photographs and pixels per second, or None for fewer than two photographs.

        The time until the network finished the first photograph, which includes
        compilation, is not counted.
        """
        if len(self.restored) < 2:
            return None
        first, *rest = sorted(self.restored)
        seconds = max(one.written for one in rest) - first.computed
        num_pixels = sum(height * width for height, width in (one.size for one in rest))
        return len(rest) / seconds, num_pixels / seconds


def restore_files(
    jobs: Sequence[Job],
    restore: Callable[..., np.ndarray],
    *,
    reduce: bool = False,
    quality: int | None = None,
    compare: Callable[..., None] | None = None,
    record: Callable[[Job, os.stat_result], None] = lambda job, status: None,
    check_pixels: Callable[[int], None] = lambda num_pixels: None,
    must_stop: Callable[[], bool] = lambda: False,
    shows_progress: bool = True,
) -> Outcome:
    """Restores each photograph; failures do not stop the rest.

    Each thread reads, restores and writes one photograph at a time. So some photographs
    are read and written while the network restores windows of others.

    Args:
      jobs: Photographs to restore; existing targets are replaced.
      restore: Function from pixels to restored pixels, with the argument `progress`, such
        as `Restorer.restore`.
      reduce: Whether 16 bits may become 8 where the target's format requires it.
      quality: Quality of lossy formats, see `encoding.write_image`.
      compare: Function that writes a comparison, from the target's path and the pixels
        before and after; None writes none.
      record: Called with each job whose target was written, and with the status of its
        source before it was read.
      check_pixels: Function that raises if a photograph has too many pixels, such as
        `Restorer.check_pixels`; called before decoding.
      must_stop: Function that returns whether to stop; called before each photograph and
        several times a second during restoration. After that, unfinished photographs are
        not written.
      shows_progress: Whether to show a progress bar in a terminal.
    """
    bar = _Bar(len(jobs), shows_progress)
    worker = _Worker(
        restore, reduce, quality, compare, record, check_pixels, must_stop, bar
    )
    todo = itertools.takewhile(lambda job: not worker.is_over(), jobs)
    results = threads.map_ahead(
        worker.run, todo, num_threads=_NUM_THREADS, num_ahead=_MOST_PENDING
    )
    outcome = Outcome()
    with contextlib.closing(bar):
        for result in results:
            if isinstance(result, Restored):
                outcome.restored.append(result)
            elif result is not None:
                outcome.failures.append(result)
    outcome.ended_by = worker.ended_by
    return outcome


class _LeftError(Exception):
    """A photograph is not restored because the run ends."""


class _Bar:
    """Progress in windows; threads may share it.

    The total is extrapolated from the photographs that were started, since reading the
    sizes of all files first would delay the first photograph.
    """

    def __init__(self, num_photographs: int, is_shown: bool):
        self._num_photographs = num_photographs
        self._num_begun = self._num_windows = 0
        self._lock = threading.Lock()
        self._bar = progress.track(unit="window", is_shown=is_shown)

    def begin(self, num_windows: int) -> None:
        """Counts a started photograph with its number of windows."""
        with self._lock:
            self._num_begun += 1
            self._num_windows += num_windows
            mean = self._num_windows / self._num_begun
            self._bar.total = round(mean * self._num_photographs)

    def advance(self, num_windows: int) -> None:
        """Counts finished windows."""
        with self._lock:
            self._bar.update(num_windows)

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()


@dataclasses.dataclass
class _Worker:
    """Restores one photograph after another; threads share it.

    The fields are the arguments of `restore_files`, and `ended_by` of its `Outcome`.
    """

    restore: Callable[..., np.ndarray]
    reduce: bool
    quality: int | None
    compare: Callable[..., None] | None
    record: Callable[[Job, os.stat_result], None]
    check_pixels: Callable[[int], None]
    must_stop: Callable[[], bool]
    bar: _Bar
    ended_by: str | None = None

    def __post_init__(self):
        self._held_pixels, self._released = 0, threading.Condition()

    def is_over(self) -> bool:
        """Returns whether no further photograph may be started."""
        return self.ended_by is not None or self.must_stop()

    def run(self, job: Job) -> Restored | str | None:
        """Restores a photograph; returns a line if this fails, None if the run ends.

        An exception is not raised, since it would keep the photograph in memory.
        """
        try:
            return self._restore_file(job)
        except _LeftError:
            return None
        except Exception as error:
            _logger.debug("Restoring %s failed:", job.source, exc_info=True)
            reason = decoding.describe(error)
            name = decoding.printable(job.source)
            return reason if name in reason else f"{name}: {reason}"

    def _restore_file(self, job: Job) -> Restored:
        self._check_going_on()
        num_pixels = decoding.count_pixels(job.source)
        self.check_pixels(num_pixels)
        with self._hold(num_pixels):
            self._check_going_on()
            status = _stat(job.source)
            read, info = decoding.read_image(job.source)
            # Before the network runs: the new file may be unable to hold the pixels.
            array = encoding.fit(job.target, read, reduce=self.reduce)
            restored = self.restore(array, progress=self._watch())
            computed = time.monotonic()
            self._write(job, status, array, restored, info)
        lost = metadata.find_lost(encoding.format_of(job.target), info)
        if array.dtype != read.dtype:
            lost.append("16 bits")
        size, change = array.shape[:2], _change(array, restored)
        return Restored(computed, time.monotonic(), size, change, tuple(lost))

    @contextlib.contextmanager
    def _hold(self, num_pixels: int) -> Iterator[None]:
        """Waits for memory and reserves it in the block; one photograph always fits."""

        def fits() -> bool:
            held = self._held_pixels
            return not held or held + num_pixels <= _MOST_PIXELS

        with self._released:
            self._released.wait_for(fits)
            self._held_pixels += num_pixels
        try:
            yield
        finally:
            with self._released:
                self._held_pixels -= num_pixels
                self._released.notify_all()

    def _watch(self) -> Callable[[int, int], None]:
        """Returns the argument `progress` of `restore`; it updates the bar and may stop."""
        shown = None

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if shown is None:
                self.bar.begin(total)
                shown = 0
            self.bar.advance(done - shown)
            shown = done
            if done < total:
                self._check_going_on()

        return progress

    def _write(
        self,
        job: Job,
        status: os.stat_result,
        array: np.ndarray,
        restored: np.ndarray,
        info: dict[str, Any],
    ) -> None:
        target = job.target
        try:
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            try:
                if self.compare:  # first, since an existing target counts as done
                    self.compare(target, array, restored)
            finally:  # a failed comparison does not cost the photograph
                encoding.write_image(target, restored, info, quality=self.quality)
                self.record(job, status)
        except OSError as error:
            if error.errno not in ENDING_ERRORS:
                raise
            name = decoding.printable(target)
            self.ended_by = f"{name} cannot be written: {error.strerror}"
            raise _LeftError from error

    def _check_going_on(self) -> None:
        if self.is_over():
            raise _LeftError


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise decoding.ImageError(path, reason) from error


def _change(before: np.ndarray, after: np.ndarray) -> float:
    """Returns the mean absolute difference of pixels, in levels of 255."""
    strips = range(0, len(before), 64)  # to save memory
    total = sum(
        np.abs(np.subtract(before[y : y + 64], after[y : y + 64], dtype=np.int32)).sum()
        for y in strips
    )
    return float(total / before.size * 255 / np.iinfo(before.dtype).max)
