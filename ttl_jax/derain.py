"""Restores rainy photographs.

Examples, the last on two GPUs:

  python -m ttl_jax.derain photographs/ holiday.jpg --output restored
  python -m ttl_jax.derain 'album/**/*.png' --output restored --checkpoint runs/derain
  bash launch/local.sh 2 derain photographs --output restored

A photograph keeps its name, format, depth and metadata, a folder its tree. The same command
resumes a run that stopped. SIGTERM or Ctrl-C ends the run after the current window;
unfinished photographs are left. A second signal ends it at once.

Several processes, one per GPU, divide the photographs without communication, by
--num_processes and --process_id or by the task numbers of srun.

Exit status: 0, all photographs are restored; 1, some failed, or the disk is full; 2, a
mistake in the command; 143, SIGTERM; 130, Ctrl-C.
"""

import argparse
import functools
import sys
import time
from collections.abc import Sequence

from ttl_jax import allocator, command_line
from ttl_jax.training import stopping


def main(arguments: Sequence[str] | None = None) -> int:
    """Restores the photographs that the flags name.

    Args:
      arguments: Command line, by default the process's own.

    Returns:
      The exit status; a mistake in the command ends the process.
    """
    started = time.monotonic()
    parser = _make_parser()
    args = parser.parse_args(arguments)
    try:
        return _restore(parser, args, started)
    except stopping.Stopped as stopped:
        print(f"ttl_jax.derain: {stopped}", file=sys.stderr)
        return stopped.exit_status
    except KeyboardInterrupt:  # before the first photograph or after the last
        return 130


def _restore(
    parser: argparse.ArgumentParser, args: argparse.Namespace, started: float
) -> int:
    # Imported after parsing, so that --help is quick.
    from ttl_jax.inference import file_jobs, job_lists, processes

    try:
        share = processes.find_share(args.num_processes, args.process_id)
        jobs = job_lists.plan(args.inputs, args.output)
        todo = _choose(jobs, share, args)
        if not todo:
            return 0
        processes.take_gpu()
        from ttl_jax import compilation_cache
        from ttl_jax.inference import restorer

        compilation_cache.enable()
        network = restorer.Restorer.from_checkpoint(args.checkpoint)
    except ValueError as error:
        parser.error(str(error))
    restore = functools.partial(
        network.restore, strength=args.strength, ensemble=args.ensemble
    )
    with stopping.StopRequest("Ending after the current window") as request:
        outcome = file_jobs.restore_files(
            todo,
            restore,
            check_pixels=network.check_pixels,
            must_stop=lambda: request.signal != 0,
            shows_progress=share.index == 0,
        )
        _report(outcome, share, args.output, started)
        num_left = len(todo) - len(outcome.restored) - len(outcome.failures)
        left = f"{num_left} photographs are left; the same command resumes"
        left += ", without --overwrite." if args.overwrite else "."
        if outcome.ended_by:
            print(f"ttl_jax.derain: {outcome.ended_by}. {left}", file=sys.stderr)
        elif num_left:
            raise stopping.Stopped(left, request.signal)
    return 1 if outcome.failures or outcome.ended_by else 0


def _choose(jobs: Sequence, share, args: argparse.Namespace) -> Sequence:
    """Returns the jobs of this process; prints which others are skipped."""
    from ttl_jax.inference import job_lists

    # Divide all jobs: the missing ones depend on when a process starts.
    num_all, jobs = len(jobs), jobs[share.index :: share.count]
    if share.count > 1:
        print(
            f"Process {share.index} of {share.count} restores {len(jobs)} of {num_all} "
            "photographs."
        )
    todo = jobs if args.overwrite else job_lists.list_missing(jobs)
    if len(todo) < len(jobs):
        print(
            f"Skipping {len(jobs) - len(todo)} of {len(jobs)} photographs that are in "
            f"{args.output} already (--overwrite restores them again)."
        )
    return todo


def _report(outcome, share, output: str, started: float) -> None:
    """Prints how many photographs were restored, how fast, and which were not."""
    text = "Restored" if share.count == 1 else f"Process {share.index} restored"
    text += f" {len(outcome.restored)} photographs into {output}"
    if outcome.restored:
        text += f", the first after {outcome.first_written() - started:.1f} s"
    if rates := outcome.rates():
        text += f", then {rates[0]:.3g} images/s ({rates[1] / 1e6:.3g} megapixels/s)"
    print(f"{text}.")
    if outcome.failures:
        lines = "\n  ".join(outcome.failures)
        print(f"{len(outcome.failures)} failed:\n  {lines}", file=sys.stderr)


def _fraction(text: str) -> float:
    """Parses a number in [0, 1]."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, not {text!r}")
    return value


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("derain", __doc__)
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="photograph, folder, or quoted pattern (PNG, JPEG, WebP, TIFF)",
    )
    text = "folder for the restored photographs; created if it is missing"
    add("--output", metavar="DIR", required=True, help=text)
    text = "restore photographs again that are in the output folder already"
    add("--overwrite", action="store_true", help=text)
    add(
        "--checkpoint",
        metavar="DIR",
        help="run folder of a trained network, DIR/best for the best step of a run with "
        "config.best_metric, or a packed run (default: the shipped weights)",
    )
    add(
        "--strength",
        type=_fraction,
        default=1.0,
        metavar="S",
        help="share of the change to apply, from 0 to 1 (default: %(default)s)",
    )
    add(
        "--ensemble",
        action="store_true",
        help="average with the restoration of the mirrored photograph: a little better, "
        "in twice the time",
    )
    add(
        "--num_processes",
        type=command_line.count(1),
        metavar="N",
        help="number of processes that divide the photographs; all get the same inputs",
    )
    text = "number of this process, from 0"
    add("--process_id", type=command_line.count(0), metavar="I", help=text)
    return parser


if __name__ == "__main__":
    allocator.use_huge_pages()
    sys.exit(main())
