"""Measures speed and quality; compared variants alternate within one run.

Speed of the input pipeline, from the sample photographs and from your own:

  python -m ttl_jax.benchmark input
  python -m ttl_jax.benchmark input --clean folder:/photos/clean \\
      --pairs folder:/photos/pairs --threads 1 2 4 8 --output speed

Time of an update and of restoring an image, presets side by side:

  python -m ttl_jax.benchmark step --presets tiny small --dtypes float32 bfloat16
  python -m ttl_jax.benchmark restore --presets small base --sides 256 512 1024
  python -m ttl_jax.benchmark restore --presets small --sides 256 --batch_sizes 1 2 4 8

Time of local sums beside sums over the whole image (cell 0):

  python -m ttl_jax.benchmark sums

Seams, time and memory for windows of several sizes and overlaps:

  python -m ttl_jax.benchmark windows --photographs folder:/photos/rain

PSNR and flicker of video, with and without the vote of neighbouring frames:

  python -m ttl_jax.benchmark video --photographs folder:/photos/clean

Our networks beside PyTorch networks from files of their authors. Each has its own
process (`taskset -c 0` gives all of them one core):

  python -m ttl_jax.benchmark peers --networks small base restormer:paper \\
      --peer restormer_torch=Restormer/basicsr/models/archs/restormer_arch.py:Restormer \\
      --peer slim=Restormer/basicsr/models/archs/restormer_arch.py:Restormer dim=24

Weak scaling of an update: several devices, with the same batch on each:

  python -m ttl_jax.benchmark scaling --devices 1 2 4

Run nothing else on the machine at the same time.
"""

import argparse
import importlib
import math
import sys
from collections.abc import Sequence

from ttl_jax import atomic_files, command_line, presets

_STAGES = ["recog", "recon", "distill", "derain"]
_DTYPES = ["float32", "bfloat16"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark that the flags name, and prints its Markdown tables."""
    parser = _make_parser()
    flags = vars(parser.parse_args(arguments))
    # Imported after parsing, so that --help is quick.
    benchmark = importlib.import_module(f"ttl_jax.benchmarks.{flags.pop('module')}")
    try:
        if flags["output"]:
            atomic_files.check_folder(flags["output"])
        print(benchmark.run(**flags))
    except (ValueError, OSError, MemoryError) as error:
        parser.error(str(error))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.benchmark", __doc__)
    kinds = parser.add_subparsers(required=True, metavar="WHAT")
    for name, module, text, add_flags in (
        ("input", "input", "crops per second, and step times", _add_input),
        ("step", "updates", "updates of each stage", _add_step),
        ("restore", "restore", "restoring images", _add_restore),
        ("sums", "local_sums", "local sums of channel attention", _add_sums),
        ("windows", "window_sizes", "windows of several sizes", _add_windows),
        ("video", "video", "temporal consistency of video", _add_video),
        ("peers", "peers", "networks of others beside ours, on a CPU", _add_peers),
        ("scaling", "scaling", "weak scaling over devices", _add_scaling),
    ):
        kind = kinds.add_parser(name, help=text)
        kind.set_defaults(module=module)
        add_flags(kind)
        if name not in ("windows", "video"):
            text = "number of measurements of each variant; the median counts"
            _add_count(kind, "--rounds", 5, "N", text)
        kind.add_argument(
            "--output",
            type=command_line.path,
            metavar="DIR",
            help="folder for the results as JSON",
        )
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--clean", metavar="SOURCE", help="default: sample photographs")
    add("--pairs", metavar="SOURCE", help="pairs; needs --clean")
    _add_count(parser, "--threads", [1, 2, 4], "N", "numbers of reading threads")
    _add_preset(parser)
    _add_choices(parser, "--dtype", _DTYPES, _DTYPES[0])
    _add_batch(parser, "crops of an update")
    text = "duration of one measurement, in seconds (default: %(default)s)"
    add("--seconds", type=_duration, default=1.0, metavar="S", help=text)


def _duration(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, not {text!r}")
    return value


def _add_step(parser: argparse.ArgumentParser) -> None:
    _add_presets(parser)
    _add_choices(parser, "--stages", _STAGES, _STAGES)
    _add_choices(parser, "--dtypes", _DTYPES, _DTYPES[:1])
    _add_batch(parser, "crops of a batch")
    text = "folder for a profile; its longest operations are listed"
    parser.add_argument("--profile", metavar="DIR", help=text)


def _add_restore(parser: argparse.ArgumentParser) -> None:
    _add_presets(parser)
    _add_count(parser, "--sides", [256, 512], "PIXELS", "sides of the square images")
    text = "also restore many images at once, with N windows in a batch"
    _add_count(parser, "--batch_sizes", [], "N", text)


def _add_sums(parser: argparse.ArgumentParser) -> None:
    _add_preset(parser)
    parser.add_argument(
        "--sums",
        type=command_line.local_sums,
        nargs="+",
        default=[(0, 0), (64, 2)],
        metavar="CELL,RADIUS",
        help="kinds of sums; ratios are relative to the first (default: 0,0 64,2)",
    )
    _add_count(parser, "--side", 960, "PIXELS", "side of the window to restore")
    # Smaller crops fit into one box, where both kinds of sums are the same program.
    _add_batch(parser, "crops of a batch", crop_size=448, batch_size=1)


def _add_windows(parser: argparse.ArgumentParser) -> None:
    add, text = parser.add_argument, "rainy photographs larger than one window"
    add("--photographs", required=True, metavar="SOURCE", help=text)
    text = "weights with local sums (default: shipped)"
    add("--checkpoint", type=command_line.path, metavar="DIR", help=text)
    sides, overlaps = [768, 896, 960, 1024], [64, 128, 192]
    _add_count(parser, "--sides", sides, "PIXELS", "largest sides of a window")
    _add_count(parser, "--overlaps", overlaps, "PIXELS", "pixels that neighbours share")


def _add_video(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--photographs",
        default="sample",
        metavar="SOURCE",
        help="clean photographs from which clips are made (default: %(default)s)",
    )
    text = "weights that restore images (default: shipped)"
    parser.add_argument("--checkpoint", metavar="DIR", help=text)
    _add_count(parser, "--count", 3, "N", "number of scenes")
    _add_count(parser, "--side", 320, "PIXELS", "side of the frames")


def _add_peers(parser: argparse.ArgumentParser) -> None:
    networks = ["small", "base", "restormer:paper", "nafnet:paper"]
    parser.add_argument(
        "--networks",
        nargs="+",
        default=networks,
        metavar="[CONFIG:]PRESET",
        help=f"networks of this project; CONFIG: scratch (ours), restormer or nafnet "
        f"(default: {' '.join(networks)})",
    )
    parser.add_argument(
        "--peer",
        dest="peers",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME=FILE:CLASS", "KEY=VALUE"),
        help="a network in PyTorch: its Python file, its class, and arguments of the class; "
        "may be repeated; ratios are relative to the first",
    )
    _add_count(parser, "--crop_size", 128, "PIXELS", "side of the crops")
    _add_count(parser, "--batch_size", 1, "N", "crops of a batch")
    _add_count(parser, "--side", 256, "PIXELS", "side of the image to restore")


def _add_scaling(parser: argparse.ArgumentParser) -> None:
    text = "numbers of GPUs, or of virtual CPU devices"
    _add_count(parser, "--devices", [1, 2, 4], "N", text)
    _add_preset(parser)
    _add_choices(parser, "--stage", _STAGES, "derain")
    _add_choices(parser, "--dtype", _DTYPES, _DTYPES[0])
    _add_batch(parser, "crops of each device")


def _add_count(parser, name: str, default: int | list, metavar: str, text: str) -> None:
    """Adds a flag for a number of at least 1, or for several if the default is a list."""
    shown, nargs = default, None
    if isinstance(default, list):
        shown, nargs = " ".join(map(str, default)) or "none", "+"
    kind, text = command_line.count(1), f"{text} (default: {shown})"
    parser.add_argument(
        name, type=kind, nargs=nargs, default=default, metavar=metavar, help=text
    )


def _add_choices(parser, name: str, choices: list[str], default: str | list) -> None:
    """Adds a flag for one of the choices, or for several if the default is a list."""
    shown, nargs = default, None
    if isinstance(default, list):
        shown, nargs = " ".join(default), "+"
    text = f"default: {shown}"
    parser.add_argument(name, nargs=nargs, choices=choices, default=default, help=text)


def _add_preset(parser: argparse.ArgumentParser) -> None:
    _add_choices(parser, "--preset", list(presets.PRESETS), presets.DEFAULT_PRESET)


def _add_presets(parser: argparse.ArgumentParser) -> None:
    compared = ["tiny", "small", "base"]
    _add_choices(parser, "--presets", list(presets.PRESETS), compared)


def _add_batch(parser, text: str, *, crop_size: int = 64, batch_size: int = 8) -> None:
    _add_count(parser, "--crop_size", crop_size, "PIXELS", "side of the crops")
    _add_count(parser, "--batch_size", batch_size, "N", text)


if __name__ == "__main__":
    command_line.start()
    sys.exit(main())
