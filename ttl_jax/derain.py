"""Restores rainy photographs and videos.

Examples, the last on two GPUs:

  python -m ttl_jax.derain holiday.jpg holiday_dry.jpg
  python -m ttl_jax.derain photographs/ holiday.jpg --output restored
  python -m ttl_jax.derain 'album/**/*.png' --output restored --checkpoint runs/derain
  python -m ttl_jax.derain clip.mp4 --output restored
  python -m ttl_jax.derain - - --format png < holiday.jpg > dry.png
  bash launch/local.sh 2 derain photographs --output restored

A photograph keeps its name, format, depth and metadata. A folder keeps its tree. The
same command resumes a run that stopped. SIGTERM or Ctrl-C ends the run after the
current window; unfinished photographs are not written. A second signal ends it at once.
The output folder records the weights and options of each photograph (.ttl_jax.jsonl);
photographs made with other weights or options are restored again.

Videos keep frame rate, timestamps, rotation, colour tags and sound; they need
pip install "ttl_jax[video]". A video that was stopped resumes after its last complete
segment.

Several processes, one per GPU, divide the photographs without communication, by
--num_processes and --process_id or by the task numbers of srun.

Exit status: 0 if all photographs are restored; 1 if some failed, or the disk is full; 2 for
an invalid command; 143 after SIGTERM; 130 after Ctrl-C.
"""

import argparse
import contextlib
import functools
import os
import pathlib
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import NoReturn

from ttl_jax import __version__, atomic_files, command_line, stopping


def main(arguments: Sequence[str] | None = None) -> int:
    """Restores the photographs that the flags name; returns the exit status."""
    started = time.monotonic()
    parser = _make_parser()
    args = parser.parse_args(arguments)
    if fault := _find_fault(args):
        parser.error(fault)
    args.format = None if args.format == "same" else args.format
    try:
        # Importing and compiling can swallow KeyboardInterrupt.
        with stopping.EndAtOnce(), _standard_streams(args):
            return _restore(parser, args, started)
    except stopping.Stopped as stopped:
        print(f"ttl_jax.derain: {stopped}", file=sys.stderr)
        return stopped.exit_status


def _find_fault(args: argparse.Namespace) -> str | None:
    """Returns the error message for flags that contradict each other, or None."""
    if args.output is None and len(args.inputs) != 2:
        return (
            "name a folder by --output DIR, or one photograph and the name of its "
            "restoration: IN.jpg OUT.jpg"
        )
    if args.output is None and (args.suffix or args.watch):
        return "--suffix and --watch need --output DIR"
    if args.watch and (args.overwrite or args.dry_run):
        return "--watch takes neither --overwrite nor --dry_run"
    if args.output is not None and "-" in args.inputs:
        return "- stands for standard input only in IN OUT, without --output"
    if args.output is None and args.compare and args.inputs[1] == "-":
        return "--compare writes a file beside the result; name one instead of -"
    if os.sep in args.suffix:
        return f"--suffix {args.suffix} must not contain {os.sep}"
    return None


@contextlib.contextmanager
def _standard_streams(args: argparse.Namespace) -> Iterator[None]:
    """Replaces "-" in the inputs by temporary files for standard input and output.

    If the photograph goes to standard output, messages go to standard error.
    """
    if "-" not in args.inputs:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "standard input")
        target = pathlib.Path(folder, f"standard output.{args.format or 'png'}")
        if args.inputs[0] == "-":
            source.write_bytes(sys.stdin.buffer.read())
            args.inputs[0] = str(source)
        if args.inputs[1:] != ["-"]:
            yield
            return
        args.inputs[1] = str(target)
        with contextlib.redirect_stdout(sys.stderr):
            yield
        if target.exists():
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)


def _restore(
    parser: argparse.ArgumentParser, args: argparse.Namespace, started: float
) -> int:
    # Imported after parsing, so that --help is quick.
    from ttl_jax.inference import processes

    try:
        share = processes.find_share(args.num_processes, args.process_id)
        plan = functools.partial(_plan, args, share)
        jobs = plan()  # also before a watch, to find faults in the command
        if args.dry_run:
            print(*jobs, sep="\n")
            return 0
        folder = args.output or os.path.dirname(jobs[0].target) or "."
        atomic_files.check_folder(folder)
        processes.take_gpu()
        from ttl_jax.inference import derain_run, engines, output_log, rain_scores

        derain_run.check_videos(args, jobs)
        if args.rain_score and not rain_scores.are_available():
            parser.error("--rain_score needs the package ttl_jax")
        engine = engines.choose(args.engine, args.checkpoint)
        network = engines.load(engine, args.checkpoint)
        log = args.output and output_log.OutputLog(
            args.output, functools.partial(derain_run.list_options, args, network)
        )
    except ValueError as error:
        parser.error(str(error))
    with stopping.StopRequest("Ending after the current window") as request:
        run = derain_run.Run(args, share, network, log, request)
        if args.watch:
            return run.watch(plan)
        todo = jobs if args.overwrite else run.list_todo(jobs)
        return run.restore(todo, started)


def _plan(args: argparse.Namespace, share) -> Sequence:
    """Returns the jobs of this process; prints which other files were found."""
    from ttl_jax.inference import job_lists

    if args.output is None:
        one = job_lists.plan_one(
            *args.inputs, overwrite=args.overwrite, wanted=args.format
        )
        return [one]
    suffix = args.format and f".{args.format}"
    jobs, skipped = job_lists.plan(
        args.inputs,
        args.output,
        ending=args.suffix,
        suffix=suffix,
        arriving=args.watch,
    )
    num_all, jobs = len(jobs), _take_share(jobs, share, arriving=args.watch)
    if share.index == 0 and not args.watch:
        for line in skipped.describe():
            print(line)
    if share.count > 1 and not args.watch:  # a watch plans again and again
        print(
            f"Process {share.index} of {share.count} restores {len(jobs)} of {num_all} "
            "photographs."
        )
    return jobs


def _take_share(jobs: Sequence, share, *, arriving: bool) -> Sequence:
    """Returns the jobs of one process; those of all processes are disjoint.

    All jobs are divided, not only the missing ones, which depend on when a process starts.
    If photographs arrive, positions change: names then decide.
    """
    if not arriving:
        return jobs[share.index :: share.count]
    keys = [zlib.crc32(os.fsencode(job.target)) for job in jobs]
    return [job for job, key in zip(jobs, keys) if key % share.count == share.index]


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
    parser = command_line.make_parser("ttl_jax.derain", __doc__)
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="photograph, video, folder, or quoted pattern; without --output, one "
        "photograph and the name of its restoration, either of which may be -",
    )
    text = "folder for the restored photographs; created if it is missing"
    add("--output", "-o", type=command_line.path, metavar="DIR", help=text)
    text = "also restore photographs that are already in the output folder"
    add("--overwrite", action="store_true", help=text)
    text = "restore photographs as they arrive in the input folder, until Ctrl-C"
    add("--watch", action="store_true", help=text)
    text = "print each input and output; write nothing"
    add("--dry_run", action="store_true", help=text)
    add("--version", action="version", version=f"ttl-jax {__version__}")
    _add_restoring(parser.add_argument_group("restoring"))
    _add_results(parser.add_argument_group("restored photographs"))
    _add_videos(parser.add_argument_group("videos"))
    _add_processes(parser.add_argument_group("several processes"))
    return parser


def _add_restoring(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--checkpoint",
        type=command_line.path,
        metavar="DIR",
        help="run folder of a trained network, DIR/best for the best step of a run with "
        "config.best_metric, a packed run, or FILE.onnx of export (default: the shipped "
        "weights)",
    )
    add(
        "--engine",
        choices=("auto", "jax", "onnx"),
        default="auto",
        help="library that computes; onnx starts sooner and needs onnxruntime (default: "
        "onnx for FILE.onnx, and for the shipped weights on a CPU where it is installed)",
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
        help="average with the restoration of the mirrored photograph; slightly better, "
        "twice the time",
    )
    add(
        "--rain_score",
        action=argparse.BooleanOptionalAction,
        help="report how rainy the photographs looked before and after, by the shipped "
        "recognition network on copies of 512 pixels: near 1 for rain, near 0 without "
        "(default: for photographs of at least 4 megapixels, where it takes little time)",
    )


def _add_results(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    text = "format of the restored photographs (default: same; PNG to standard output)"
    add("--format", choices=("same", "png", "jpg", "webp", "tiff"), help=text)
    add(
        "--quality",
        type=command_line.count(1, 100),
        metavar="Q",
        help="quality of JPEG and WebP, 1 to 100 (default: that of a JPEG source, 95 for "
        "JPEG from other sources, lossless WebP)",
    )
    text = "text that is added to each name, such as _derained"
    add("--suffix", default="", metavar="TEXT", help=text)
    add(
        "--compare",
        nargs="?",
        const="jpg",
        choices=("jpg", "html"),
        help="also write NAME.compare.jpg, such as a.png.compare.jpg: before and after "
        "side by side; or a page with a slider",
    )


def _add_videos(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--temporal",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="let neighbouring frames vote on what is rain (default: on)",
    )
    text = "encoder of FFmpeg (default: libx264; libvpx-vp9 for .webm)"
    add("--codec", metavar="NAME", help=text)
    text = "constant rate factor of the encoder, 0 to 63; smaller values give better quality"
    add(
        "--crf",
        type=command_line.count(0, 63),
        metavar="N",
        help=f"{text} (default: 18; 24 for VP9, 20 for AV1)",
    )


def _add_processes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--num_processes",
        type=command_line.count(1),
        metavar="N",
        help="number of processes that divide the photographs; all get the same inputs",
    )
    text = "number of this process, from 0"
    add("--process_id", type=command_line.count(0), metavar="I", help=text)


def run() -> NoReturn:
    """Runs the command as a process of its own."""
    command_line.start()
    sys.exit(main())


if __name__ == "__main__":
    run()
