"""Measures speed; what is compared is measured side by side in one run.

Examples, how fast crops reach the trainer from the embedded photographs, and from yours:

  python -m ttl_jax.benchmark input
  python -m ttl_jax.benchmark input --clean folder:/photos/clean \\
      --pairs folder:/photos/pairs --threads 1 2 4 8 --output speed

Nothing else should run on the machine meanwhile.
"""

import argparse
import sys
from collections.abc import Sequence

from ttl_jax import command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the flags name and prints Markdown tables.

    Args:
      arguments: The command line, by default the process's own.

    Returns:
      The exit status 0. A mistake in the command ends the process with status 2 and one
      line.
    """
    parser = _make_parser()
    flags = vars(parser.parse_args(arguments))
    del flags["what"]
    # Imported once the flags are read: --help is quick.
    from ttl_jax.benchmarks import input as input_benchmark

    try:
        print(input_benchmark.run(**flags))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("benchmark", __doc__)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_input(kinds.add_parser("input", help="crops per second, and step times"))
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is read")
    what.add_argument(
        "--clean", metavar="SOURCE", help="photographs (default: embedded ones)"
    )
    what.add_argument("--pairs", metavar="SOURCE", help="pairs; goes with --clean")
    what.add_argument(
        "--crop_size",
        type=command_line.count(1),
        default=64,
        metavar="PIXELS",
        help="side of the crops (default: %(default)s)",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--threads",
        type=command_line.count(1),
        nargs="+",
        default=[1, 2, 4],
        metavar="N",
        help="numbers of threads to read with (default: 1 2 4)",
    )
    how.add_argument(
        "--preset",
        default="small",
        help="networks whose steps are timed (default: %(default)s)",
    )
    how.add_argument(
        "--rounds",
        type=command_line.count(1),
        default=5,
        metavar="N",
        help="turns of every case, whose median counts (default: %(default)s)",
    )
    how.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="of a turn (default: %(default)s)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="folder for the figures as JSON"
    )


if __name__ == "__main__":
    sys.exit(main())
