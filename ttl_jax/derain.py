"""Restores rainy photographs.

Example:

  python -m ttl_jax.derain photographs/ holiday.jpg --output restored
  python -m ttl_jax.derain 'album/**/*.png' --output restored --checkpoint runs/derain

A photograph keeps its name, format, depth and metadata, a folder its tree. The same
command goes on where a run stopped.
"""

import argparse
import sys
from collections.abc import Sequence

from ttl_jax import command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Restores what the flags name.

    Args:
      arguments: The command line, by default the process's own.

    Returns:
      The exit status: 1 where some photographs failed, 0 otherwise. A mistake in the
      command ends the process with status 2.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    # Imported once the flags are read: --help is quick.
    from ttl_jax.inference import folders

    try:
        jobs = folders.plan(args.inputs, args.output)
    except ValueError as error:
        parser.error(str(error))
    todo = [job for job in jobs if args.overwrite or not job.target.exists()]
    if len(todo) < len(jobs):
        print(
            f"Skipping {len(jobs) - len(todo)} of {len(jobs)} photographs that are in "
            f"{args.output} already (--overwrite restores them again)."
        )
    if not todo:
        return 0
    from ttl_jax import compilation_cache
    from ttl_jax.inference import restorer

    compilation_cache.enable()
    try:
        network = restorer.Restorer.from_checkpoint(args.checkpoint)
    except ValueError as error:
        parser.error(str(error))
    failures = folders.restore_files(todo, network.restore)
    print(f"Restored {len(todo) - len(failures)} photographs into {args.output}.")
    if failures:
        print(f"{len(failures)} failed:", *failures, sep="\n  ", file=sys.stderr)
    return 1 if failures else 0


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("derain", __doc__)
    what = parser.add_argument_group("what to restore")
    what.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="photograph, folder, or quoted pattern (PNG, JPEG, WebP, TIFF)",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="run folder of a trained network, or DIR/best for the best step of a run "
        "with config.best_metric (default: runs/derain)",
    )
    where = parser.add_argument_group("where to")
    where.add_argument(
        "--output",
        metavar="DIR",
        required=True,
        help="folder for the restored photographs; made if it is not there",
    )
    where.add_argument(
        "--overwrite",
        action="store_true",
        help="restore again what is in the output folder already",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
