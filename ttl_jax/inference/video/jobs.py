"""Restores video files in segments, so that a stopped run can resume."""

import contextlib
import dataclasses
import hashlib
import itertools
import logging
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ttl_jax import atomic_files, progress, threads
from ttl_jax.data.files import decoding
from ttl_jax.inference import file_jobs
from ttl_jax.inference.file_jobs import Job
from ttl_jax.inference.video import codecs, joining, reading, temporal, writing

_logger = logging.getLogger("ttl_jax")

# Length of a segment in frames, or in seconds of work; a kill loses at most one segment.
_SEGMENT_FRAMES = 48
_SEGMENT_SECONDS = 60.0
_RECORD = "record.json"
_PARTIAL = "partial_"
_ABANDONED_SECONDS = 3600.0  # no process writes to a file that is unchanged for so long


@dataclasses.dataclass(frozen=True)
class Settings:
    """How videos are restored and written.

    Attributes:
      temporal: Whether neighbouring frames vote; see `temporal`.
      codec: Encoder of FFmpeg; None means H.264, or VP9 in WebM.
      crf: Constant rate factor; None means visually lossless.
    """

    temporal: bool = True
    codec: str | None = None
    crf: int | None = None

    def complete(self, target: str) -> "Settings":
        """Returns the settings with the default codec and rate factor for a target."""
        suffix = os.path.splitext(target)[1].lower()
        codec = self.codec or codecs.CODECS.get(suffix, "libx264")
        crf = codecs.CRF.get(codec, 18) if self.crf is None else self.crf
        return Settings(self.temporal, codec, crf)

    def check(self, target: str) -> None:
        """Raises ValueError if the codec cannot write a target, or takes no rate factor."""
        suffix = os.path.splitext(target)[1]
        codecs.check_codec(self.complete(target).codec or "", suffix, self.crf)


class Restored(NamedTuple):
    """A restored video.

    Attributes:
      num_frames: Number of frames.
      broken: One line for each damaged frame, and for an end that is missing.
      lost: Kinds of streams that the new file does not keep, and "alpha".
    """

    num_frames: int
    broken: list[str]
    lost: list[str]


class StopError(Exception):
    """Work was stopped by `must_stop`; complete segments are kept."""


class EndError(Exception):
    """Writing became impossible, such as on a full disk; complete segments are kept."""


class _Tag(NamedTuple):
    """Data that a frame keeps through the vote."""

    index: int
    picture: reading.Picture


def restore_video(
    job: Job,
    restore: Callable[..., np.ndarray],
    *,
    settings: Settings,
    options: Callable[[str], Mapping[str, Any]],
    num_ahead: int = 1,
    check_pixels: Callable[[int], None] = lambda num_pixels: None,
    must_stop: Callable[[], bool] = lambda: False,
    shows_progress: bool = True,
) -> Restored:
    """Restores a video; the same call resumes after the last complete segment.

    Segments are in a hidden folder beside the target until the whole video is written
    atomically. A damaged frame is left unchanged. A frame that cannot be decoded is
    replaced by the previous one.

    Args:
      job: Video to read, and the file to write, which is replaced.
      restore: Function from pixels to restored pixels, with the argument `progress`, such
        as `Restorer.restore`.
      options: Function that returns, for the path of a target, all other values that
        determine pixels, such as the digest of the weights. Segments that were made with
        other options are not used.
      check_pixels: Function that raises ValueError if frames have too many pixels, such
        as `Restorer.check_pixels`.
      must_stop: Function that returns whether to stop; called several times a second.

    Raises:
      StopError: If `must_stop` returned True.
      ValueError: If a file cannot be read, or frames have too many pixels.
      OSError: If a file cannot be written.
    """
    target = pathlib.Path(job.target)
    settings.check(job.target)
    settings = settings.complete(job.target)
    info = reading.probe(job.source)
    check_pixels(info.num_pixels)
    work = target.with_name(f".{target.name}.segments")
    _enter(work, job.source, {**options(job.target), **dataclasses.asdict(settings)})
    num_done = _list_segments(work)[1]
    if num_done and shows_progress:
        print(
            f"{decoding.printable(job.source)}: resuming after {num_done} frames.",
            flush=True,
        )
    broken: list[str] = []
    left = info.num_frames and max(info.num_frames - num_done, 0)
    with progress.track(unit="frame", total=left, is_shown=shows_progress) as bar:
        frames = _restore_frames(
            job.source, info, restore, num_done, num_ahead, must_stop, broken
        )
        if settings.temporal:
            results = temporal.vote(frames)
        else:
            results = ((frame.tag, frame.restored) for frame in frames)
        _write_segments(work, results, num_done, info, settings, bar)
    num_frames, lost = _join(work, job)
    return Restored(num_frames, broken, lost)


def _join(work: pathlib.Path, job: Job) -> tuple[int, list[str]]:
    """Writes the video of all segments; returns its number of frames, and what is lost."""
    segments, num_frames = _list_segments(work)
    if not segments:
        shutil.rmtree(work)
        raise ValueError(f"{job.source} has no frame that can be decoded.")
    target = pathlib.Path(job.target)
    with _partial(work, target.suffix) as joined:
        lost = joining.join(segments, job.source, joined, num_frames=num_frames)
        _publish(joined, target)
    shutil.rmtree(work, ignore_errors=True)
    return num_frames, lost


def restore_videos(
    jobs: Sequence[Job], restore: Callable[..., np.ndarray], *, record, **arguments: Any
) -> Iterator[str]:
    """Restores each video and prints a line about it; failures do not stop the rest.

    Args:
      record: Called with each job whose video was written, and with the status of its
        source before it was read.

    Yields:
      One line for each failed video and each damaged frame.

    Raises:
      StopError: If `must_stop` returned True; the message names the video.
      EndError: If no further video can be written; the message names the target.
    """
    for job in jobs:
        source, target = map(decoding.printable, job)
        began = time.monotonic()
        try:
            status = os.stat(job.source)
            restored = restore_video(job, restore, **arguments)
        except StopError:
            raise StopError(f"stopped within {source}") from None
        except Exception as error:
            number = getattr(error, "errno", None)
            if number in file_jobs.ENDING_ERRORS:
                reason = os.strerror(number)
                raise EndError(f"{target} cannot be written: {reason}") from error
            _logger.debug("Restoring %s failed:", source, exc_info=True)
            reason = decoding.describe(error)
            named = job.source in reason or source in reason
            yield reason if named else f"{job.source}: {reason}"
            continue
        record(job, status)
        yield from restored.broken
        rate = restored.num_frames / (time.monotonic() - began)
        lost = f" Not kept: {', '.join(restored.lost)}." if restored.lost else ""
        print(
            f"Restored {restored.num_frames} frames of {source} into {target}, "
            f"{rate:.3g} frames/s.{lost}"
        )


def _enter(work: pathlib.Path, source: str, options: Mapping[str, Any]) -> None:
    """Creates the work folder; clears it if it is of another source or other options."""
    status = os.stat(source)
    with open(source, "rb") as file:
        head = hashlib.sha256(file.read(2**20)).hexdigest()
    record = {**options, "head": head, "size": status.st_size}
    try:
        if atomic_files.read_json(work / _RECORD) == record:
            _remove_abandoned(work)
            return
    except ValueError:
        pass  # there is none, or it is incomplete
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    atomic_files.write_json(work / _RECORD, record)


def _list_segments(work: pathlib.Path) -> tuple[list[pathlib.Path], int]:
    """Returns the complete segments in their order, and the number of their frames.

    File names have the number of the first frame and of the frame after the last.
    """
    segments = sorted(work.glob("[0-9]*-[0-9]*.nut"))
    stop = 0
    for path in segments:
        start, after = map(int, path.stem.split("-"))
        if start != stop:
            raise ValueError(f"{work} lacks frame {stop}; delete this folder.")
        stop = after
    return segments, stop


def _restore_frames(
    source: str,
    info: reading.Info,
    restore: Callable[..., np.ndarray],
    num_done: int,
    num_ahead: int,
    must_stop: Callable[[], bool],
    broken: list[str],
) -> Iterator[temporal.Frame]:
    """Yields restored frames, beginning a few frames before `num_done`.

    A frame that cannot be decoded repeats the one before it. So the last earlier frame
    that can be decoded is yielded first, if there is any. Adds a line to `broken` for
    each damaged frame, and if the video ends before its header says.
    """

    def check(done: int = 0, total: int = 0) -> None:
        if must_stop():
            raise StopError

    def read() -> Iterator[tuple[int, reading.Picture]]:
        """Yields frames with their indices, and notes what is missing in `broken`."""
        before = picture = None
        for index, picture in enumerate(reading.read(source)):
            check()
            if picture.is_broken:
                what = "is damaged; it was copied"
                if picture.decoded is None:
                    what = "cannot be decoded; the previous frame was repeated"
                broken.append(f"{source}: frame {index} {what}")
            if index < num_done - temporal.REACH:
                before = before if picture.decoded is None else (index, picture)
                continue
            if before:
                yield before
                before = None
            yield index, picture
        if picture and (missing := info.count_missing_seconds(picture)):
            broken.append(
                f"{source} ends {missing:.2g} s before the end that its header names, "
                f"after {index + 1} frames; is the file cut off?"
            )

    def restore_one(read: tuple[int, reading.Picture]) -> temporal.Frame:
        index, picture = read
        rainy, tag = picture.pixels(), _Tag(index, picture)
        if picture.is_broken:
            return temporal.Frame(rainy, rainy, tag, True)
        try:
            return temporal.Frame(rainy, restore(rainy, progress=check), tag)
        except ValueError as error:
            broken.append(f"{source}: frame {index} was copied: {error}")
            return temporal.Frame(rainy, rainy, tag, True)

    return threads.map_ahead(
        restore_one, read(), num_threads=num_ahead, num_ahead=num_ahead
    )


def _write_segments(
    work: pathlib.Path,
    results,
    num_done: int,
    info: reading.Info,
    settings: Settings,
    bar,
) -> None:
    """Writes results to segments; a stopped segment is completed with fewer frames.

    Results before `num_done` are not written. They only replace frames that cannot be
    decoded.
    """
    results = iter(results)
    like: Any = None
    last: Any = None
    for first in results:
        like = first[0].picture.decoded or like
        if first[0].index < num_done:
            last = last if first[1] is None else first[1]
            continue
        if (
            like is None
        ):  # frames that are lost at the start repeat the first decoded one
            return
        with _partial(work) as partial:
            segment = writing.Segment(
                partial,
                like,
                info=info,
                codec=settings.codec or "",
                crf=settings.crf or 0,
            )
            began, num_frames, stopped = time.monotonic(), 0, None
            try:
                for tag, pixels in itertools.chain([first], results):
                    last = last if pixels is None else pixels
                    segment.add(last, tag.picture.pts, tag.picture.duration)
                    num_frames += 1
                    bar.update()
                    is_late = time.monotonic() - began > _SEGMENT_SECONDS
                    if num_frames == _SEGMENT_FRAMES or is_late:
                        break
            except StopError as error:
                stopped = error
            segment.close()
            start = first[0].index
            name = f"{start:09}-{start + num_frames:09}.nut"
            _publish(partial, work / name)
        if stopped:
            raise stopped


@contextlib.contextmanager
def _partial(work: pathlib.Path, suffix: str = "") -> Iterator[pathlib.Path]:
    """Yields a unique path for an unfinished file, since processes may share `work`.

    In the end, the file is removed unless it was renamed: it may have filled the disk.
    """
    path = work / f"{_PARTIAL}{os.urandom(8).hex()}{suffix}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _remove_abandoned(work: pathlib.Path) -> None:
    """Removes the unfinished files of runs that were killed."""
    for path in work.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def _publish(partial: pathlib.Path, path: pathlib.Path) -> None:
    """Renames a complete file to its final name, after it is on the disk."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
