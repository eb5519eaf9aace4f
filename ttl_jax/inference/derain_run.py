"""One run of the command derain: its photographs and videos, and what it prints."""

import argparse
import collections
import contextlib
import dataclasses
import functools
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ttl_jax import stopping
from ttl_jax.data.files import decoding, encoding
from ttl_jax.inference import (
    before_after,
    file_jobs,
    job_lists,
    rain_scores,
    video,
)

# Levels of 255; a smaller mean change at full strength is reported as little rain.
_LITTLE = 0.5
_WATCH_EVERY = 2.0  # seconds


def list_options(args: argparse.Namespace, network, target: str) -> dict:
    """Returns all values that determine the pixels of a photograph or video."""
    options = {
        "weights": network.digest,
        "strength": args.strength,
        "ensemble": args.ensemble,
    }
    if video.is_video(target):
        options |= dataclasses.asdict(_video_settings(args).complete(target))
    elif args.quality and encoding.format_of(target) in encoding.LOSSY:
        options["quality"] = args.quality
    return options


def check_videos(args: argparse.Namespace, jobs: Sequence) -> None:
    """Raises ValueError if the flags do not fit the videos among some jobs."""
    targets = (job.target for job in jobs if video.is_video(job.source))
    by_suffix = {os.path.splitext(target)[1].lower(): target for target in targets}
    for target in by_suffix.values():
        _video_settings(args).check(target)


def _video_settings(args: argparse.Namespace) -> Any:
    from ttl_jax.inference.video import jobs  # needs the extra [video]

    return jobs.Settings(args.temporal, args.codec, args.crf)


class EndedError(stopping.Stopped):
    """Writing became impossible, such as on a full disk; the rest is not restored."""

    def __init__(self, message: str):
        Exception.__init__(self, message)
        self.exit_status = 1


class Arrivals:
    """Tells which photographs of a watched folder are complete and not yet tried.

    A file is complete once its size and modification time are the same at two
    successive looks. The time is not compared with the clock, since a copy may keep an
    old time.
    """

    def __init__(self):
        self._seen: dict[str, tuple[int, int]] = {}
        self._tried: dict[str, tuple[int, int]] = {}

    def take(self, jobs: Sequence) -> list:
        """Looks at the sources of jobs; returns those to try now."""
        last, self._seen = self._seen, {}
        for job in jobs:
            with contextlib.suppress(OSError):  # the file was removed again
                status = os.stat(job.source)
                self._seen[job.source] = status.st_mtime_ns, status.st_size
        todo = []
        for job in jobs:
            state = self._seen.get(job.source)
            if state is None or state != last.get(job.source):
                continue
            if state != self._tried.get(job.source):
                self._tried[job.source] = state
                todo.append(job)
        return todo


class Run(NamedTuple):
    """What all jobs of a command share.

    Attributes:
      args: Flags of the command.
      share: Part of this process, a `processes.Share`.
      network: A `Restorer`.
      log: The `OutputLog`; None without an output folder.
      request: Request to stop.
    """

    args: argparse.Namespace
    share: Any
    network: Any
    log: Any
    request: stopping.StopRequest

    def list_todo(self, jobs: Sequence) -> Sequence:
        """Returns the jobs that are not done; prints how many others are skipped."""
        if self.log is None:
            return jobs
        output = decoding.printable(self.args.output)
        missing = set(job_lists.list_missing(jobs, self.args.compare))
        differences = self.log.find_differences(
            job for job in jobs if job not in missing
        )
        for made, count in collections.Counter(differences.values()).items():
            print(
                f"Restoring {count} {_noun(jobs, count)} again; those in {output} were "
                f"made with {made}."
            )
        todo = [job for job in jobs if job in missing or job in differences]
        if len(todo) < len(jobs):
            print(
                f"Skipping {len(jobs) - len(todo)} of {len(jobs)} {_noun(jobs, 2)} that "
                f"are in {output} already (--overwrite restores them again)."
            )
        return todo

    def restore(self, todo: Sequence, started: float) -> int:
        """Restores photographs, then videos; returns the exit status.

        Raises:
          stopping.Stopped: If the request came before all were restored.
          EndedError: If no further photograph can be written.
        """
        videos = [job for job in todo if video.is_video(job.source)]
        photographs = [job for job in todo if not video.is_video(job.source)]
        status = self._restore_photographs(photographs, started) if photographs else 0
        return (self._restore_videos(videos) if videos else 0) or status

    def watch(self, plan: Callable[[], Sequence]) -> int:
        """Restores photographs as they arrive, until a signal; returns 0.

        Args:
          plan: Function that lists the jobs of all photographs that are there. If it
            raises ValueError or OSError, the message is printed once, and the watch
            goes on.

        Raises:
          stopping.Stopped, EndedError: As `restore`.
        """
        arrivals, fault = Arrivals(), ""
        print("Watching for photographs; Ctrl-C ends.", flush=True)
        while not self.request.signal:
            last, fault = fault, ""
            try:
                jobs = plan()
            except (ValueError, OSError) as error:
                jobs, fault = [], str(error)
            if fault not in ("", last):
                print(f"ttl_jax.derain: {fault}", file=sys.stderr)
            if todo := arrivals.take(self._list_unmade(jobs)):
                self.restore(todo, time.monotonic())
            self.request.wait(_WATCH_EVERY)
        return 0

    def _list_unmade(self, jobs: Sequence) -> list:
        """Returns jobs without a target, and those that `find_differences` finds."""
        missing = job_lists.list_missing(jobs, self.args.compare)
        known = set(missing)
        others = [job for job in jobs if job not in known]
        return [*missing, *self.log.find_differences(others)]

    def _restore_photographs(self, todo: Sequence, started: float) -> int:
        args = self.args
        least = rain_scores.MANY_PIXELS if rain_scores.are_available() else math.inf
        min_pixels = {None: least, True: 0, False: math.inf}
        scored = rain_scores.RainScores(
            self._restore_pixels(), min_pixels[args.rain_score]
        )
        outcome = file_jobs.restore_files(
            todo,
            scored.restore,
            # A format that the user named, as a flag or by the name of the result.
            reduce=bool(args.format) or args.output is None,
            quality=args.quality,
            compare=args.compare
            and functools.partial(before_after.write, args.compare),
            check_pixels=self.network.check_pixels,
            **self._hooks(),
        )
        target = args.output or os.path.basename(todo[0].target)
        _report(outcome, self.share, decoding.printable(target), started)
        _report_changes(outcome.restored, self.network, scored, args.strength)
        _print_failures(outcome.failures)
        num_left = len(todo) - len(outcome.restored) - len(outcome.failures)
        left = f"{_photographs(num_left)} left; the same command resumes"
        left += ", without --overwrite." if args.overwrite else "."
        if outcome.ended_by:
            raise EndedError(f"{outcome.ended_by}. {left}")
        if num_left:
            raise stopping.Stopped(left, self.request.signal)
        return 1 if outcome.failures else 0

    def _restore_videos(self, todo: Sequence) -> int:
        from ttl_jax.inference.video import jobs as video_jobs

        args, failures = self.args, []
        try:
            for failure in video_jobs.restore_videos(
                todo,
                self._restore_pixels(),
                settings=_video_settings(args),
                options=functools.partial(list_options, args, self.network),
                num_ahead=self.network.batch_size,
                check_pixels=self.network.check_pixels,
                **self._hooks(),
            ):
                failures.append(decoding.printable(failure))
        except video_jobs.StopError as error:
            raise stopping.Stopped(
                f"{error}; the same command resumes.", self.request.signal
            ) from None
        except video_jobs.EndError as error:
            raise EndedError(f"{error}; the same command resumes.") from None
        finally:
            _print_failures(failures)
        return 1 if failures else 0

    def _restore_pixels(self) -> Callable:
        """Returns the function from pixels to restored pixels that the flags describe."""
        return functools.partial(
            self.network.restore,
            strength=self.args.strength,
            ensemble=self.args.ensemble,
        )

    def _hooks(self) -> dict[str, Any]:
        """Returns the functions by which jobs record results and learn when to stop."""
        return {
            "record": self.log.add if self.log else lambda job, status: None,
            "must_stop": lambda: self.request.signal != 0,
            "shows_progress": self.share.index == 0,
        }


def _report(outcome, share, output: str, started: float) -> None:
    """Prints how many photographs were restored, and how fast."""
    restored = outcome.restored
    text = "Restored" if share.count == 1 else f"Process {share.index} restored"
    text += f" {_photographs(len(restored))} into {output}"
    if restored:
        text += f", the first after {outcome.first_written() - started:.1f} s"
    if rates := outcome.rates():
        text += f", then {rates[0]:.3g} images/s ({rates[1] / 1e6:.3g} megapixels/s)"
    print(f"{text}.")


def _report_changes(restored: Sequence, network, scored, strength: float) -> None:
    """Prints how much photographs changed, and what they lost."""
    large = [one for one in restored if not network.is_too_small(*one.size)]
    if num_small := len(restored) - len(large):
        print(f"Left {_photographs(num_small)} unchanged: too small to be restored.")
    if large:
        mean = sum(one.change for one in large) / len(large)
        print(f"Mean change: {mean:.2f} of 255 levels.")
    # A smaller strength changes less, however much rain there is.
    little = _LITTLE * strength
    if num_little := sum(one.change < little for one in large):
        print(
            f"Little rain found in {_photographs(num_little)}, left nearly unchanged "
            f"(by less than {little:.2g} levels)."
        )
    if len(scored):
        before, after = scored.means()
        print(
            f"Rain score, mean of {_photographs(len(scored))}: {before:.2f} before, "
            f"{after:.2f} after."
        )
    lost = collections.Counter(name for one in restored for name in one.lost)
    if lost:
        kinds = ", ".join(f"{name} ({_photographs(n)})" for name, n in lost.items())
        print(f"Not kept: {kinds}.")


def _print_failures(failures: Sequence[str]) -> None:
    if failures:
        lines = "\n  ".join(failures)
        print(f"{len(failures)} failed:\n  {lines}", file=sys.stderr)


def _noun(jobs: Sequence, number: int) -> str:
    """Returns "photograph" or "video", or "file" if there are both; -s for several."""
    kinds = {video.is_video(job.source) for job in jobs}
    word = "file" if len(kinds) > 1 else "video" if True in kinds else "photograph"
    return word + "s"[: number != 1]


def _photographs(number: int) -> str:
    return f"{number} photograph{'s'[: number != 1]}"
