"""Measures speed; what is compared is measured side by side in one run.

Examples, how fast crops reach the trainer from the embedded photographs, and from yours:

  python -m ttl_jax.benchmark input
  python -m ttl_jax.benchmark input --clean folder:/photos/clean \\
      --pairs folder:/photos/pairs --threads 1 2 4 8 --output speed

How long an update and restoring an image take, presets side by side:

  python -m ttl_jax.benchmark step --presets tiny small --dtypes float32 bfloat16
  python -m ttl_jax.benchmark restore --presets small base --sides 256 512 1024

What local sums cost beside sums over the whole image (cell 0):

  python -m ttl_jax.benchmark sums --sums 0,0 64,1 64,2

Seams, seconds and memory of restoring in windows of several sides and overlaps:

  python -m ttl_jax.benchmark windows --photographs folder:/photos/rain

A block of the encoder beside PyTorch's, where PyTorch is installed:

  python -m ttl_jax.benchmark block --presets small

How updates scale, the batch of each device being the same:

  python -m ttl_jax.benchmark scaling --devices 1 2 4

Nothing else should run on the machine meanwhile.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from ttl_jax import allocator, command_line

_STAGES = ["recog", "recon", "distill", "derain"]
_DTYPES = ["float32", "bfloat16"]


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
    # Imported once the flags are read: --help is quick.
    benchmark = importlib.import_module(f"ttl_jax.benchmarks.{flags.pop('what')}")
    try:
        print(benchmark.run(**flags))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("benchmark", __doc__)
    kinds = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    _add_input(kinds.add_parser("input", help="crops per second, and step times"))
    _add_step(kinds.add_parser("step", help="updates of each stage"))
    _add_restore(kinds.add_parser("restore", help="restoring images"))
    _add_sums(kinds.add_parser("sums", help="local sums of channel attention"))
    _add_windows(kinds.add_parser("windows", help="windows of several sizes"))
    _add_block(kinds.add_parser("block", help="a block, beside PyTorch's"))
    _add_scaling(kinds.add_parser("scaling", help="updates on more and more devices"))
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is read")
    what.add_argument(
        "--clean", metavar="SOURCE", help="photographs (default: embedded ones)"
    )
    what.add_argument("--pairs", metavar="SOURCE", help="pairs; goes with --clean")
    _add_crop_size(what)
    how = parser.add_argument_group("how")
    how.add_argument(
        "--threads",
        type=command_line.count(1),
        nargs="+",
        default=[1, 2, 4],
        metavar="N",
        help="numbers of threads to read with (default: 1 2 4)",
    )
    _add_preset(how, "networks whose steps are timed (default: %(default)s)")
    how.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="of a turn (default: %(default)s)",
    )
    _add_common(parser)


def _add_step(parser: argparse.ArgumentParser) -> None:
    _add_presets(parser)
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=_STAGES,
        default=_STAGES,
        help="default: all",
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=_DTYPES,
        default=_DTYPES[:1],
        help="types that the networks compute in (default: float32)",
    )
    _add_batch(parser, "crops of a batch")
    parser.add_argument(
        "--profile", metavar="DIR", help="folder for a trace of one turn of each case"
    )
    _add_common(parser)


def _add_restore(parser: argparse.ArgumentParser) -> None:
    _add_presets(parser)
    _add_sides(parser, [256, 512], "square images")
    _add_common(parser)


def _add_sums(parser: argparse.ArgumentParser) -> None:
    _add_preset(parser, "network (default: %(default)s)")
    parser.add_argument(
        "--sums",
        type=_sums,
        nargs="+",
        default=[(0, 0), (64, 1)],
        metavar="CELL,RADIUS",
        help="kinds of sums; the others are compared with the first (default: 0,0 64,1)",
    )
    parser.add_argument(
        "--side",
        type=command_line.count(1),
        default=768,
        metavar="PIXELS",
        help="side of the window to restore (default: %(default)s)",
    )
    _add_batch(parser, "crops of a batch")
    _add_common(parser)


def _add_windows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--photographs",
        required=True,
        metavar="SOURCE",
        help="rainy photographs larger than one window",
    )
    parser.add_argument(
        "--checkpoint",
        metavar="DIR",
        help="weights with local sums (default: those of the package)",
    )
    for name, default, what in (
        ("--sides", [640, 768, 896, 1024], "largest sides of a window"),
        ("--overlaps", [64, 128, 192], "pixels that neighbours share"),
    ):
        parser.add_argument(
            name,
            type=command_line.count(1),
            nargs="+",
            default=default,
            metavar="PIXELS",
            help=f"{what} (default: {' '.join(map(str, default))})",
        )
    _add_output(parser)


def _sums(text: str) -> tuple[int, int]:
    """The type of an argument that is a cell and a radius, such as 64,1."""
    cell, _, radius = text.partition(",")
    if not (cell.isdecimal() and radius.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected CELL,RADIUS, not {text!r}")
    return int(cell), int(radius)


def _add_block(parser: argparse.ArgumentParser) -> None:
    _add_presets(parser, ["small"])
    _add_sides(parser, [128], "square features")
    _add_batch_size(parser, "features of a batch", 1)
    _add_common(parser)


def _add_sides(parser, default: list[int], what: str) -> None:
    parser.add_argument(
        "--sides",
        type=command_line.count(1),
        nargs="+",
        default=default,
        metavar="PIXELS",
        help=f"of the {what} (default: {' '.join(map(str, default))})",
    )


def _add_scaling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--devices",
        type=command_line.count(1),
        nargs="+",
        default=[1, 2, 4],
        metavar="N",
        help="numbers of GPUs, or of virtual devices of a CPU (default: 1 2 4)",
    )
    _add_preset(parser, "network (default: %(default)s)")
    parser.add_argument(
        "--stage", choices=_STAGES, default="derain", help="default: %(default)s"
    )
    parser.add_argument(
        "--dtype", choices=_DTYPES, default=_DTYPES[0], help="default: %(default)s"
    )
    _add_batch(parser, "crops of each device")
    _add_common(parser)


def _add_preset(parser: argparse._ActionsContainer, help_text: str) -> None:
    parser.add_argument("--preset", default="small", help=help_text)


def _add_crop_size(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--crop_size",
        type=command_line.count(1),
        default=64,
        metavar="PIXELS",
        help="side of the crops (default: %(default)s)",
    )


def _add_batch(parser: argparse.ArgumentParser, what: str) -> None:
    _add_crop_size(parser)
    _add_batch_size(parser, what, 8)


def _add_batch_size(parser, what: str, default: int) -> None:
    parser.add_argument(
        "--batch_size",
        type=command_line.count(1),
        default=default,
        metavar="N",
        help=f"{what} (default: %(default)s)",
    )


def _add_presets(parser, default: Sequence[str] = ("tiny", "small", "base")) -> None:
    parser.add_argument(
        "--presets",
        nargs="+",
        default=default,
        help=f"networks to compare (default: {' '.join(default)})",
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds",
        type=command_line.count(1),
        default=5,
        metavar="N",
        help="turns of every case, whose median counts (default: %(default)s)",
    )
    _add_output(parser)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="DIR", help="folder for the figures as JSON"
    )


if __name__ == "__main__":
    allocator.use_huge_pages()
    sys.exit(main())
