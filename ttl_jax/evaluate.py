"""Scores restored images by PSNR and SSIM, beside the rainy input's own scores.

Examples, a checkpoint on pairs, and any methods' results in folders:

  python -m ttl_jax.evaluate --checkpoint runs/derain --data sample/test --output scores
  python -m ttl_jax.evaluate --results ours=restored --results other=elsewhere \\
      --target Test100/target --input Test100/input --output scores

Writes table.md, per_image.csv and scores.json into the output folder and prints the
table.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax.metrics import image_quality


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores what the flags name.

    Args:
      arguments: The command line, by default the process's own.

    Returns:
      The exit status 0. A mistake in the command, images that do not belong together
      and damaged ones end the process with status 2 and one line.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    _check_mode(parser, args)
    # Imported once the flags are read: --help is quick.
    from ttl_jax.reports import scores, tables

    every = args.protocol == "all"
    try:
        if args.checkpoint:
            from ttl_jax.inference import restorer

            network = restorer.Restorer.from_checkpoint(args.checkpoint)
            sets = scores.restored_sets(args.data, network)
        else:
            sets = scores.result_sets(args.results, args.target, args.input)
        pathlib.Path(args.output).mkdir(parents=True, exist_ok=True)
        found = scores.score_sets(
            sets,
            tuple(image_quality.PROTOCOLS) if every else (args.protocol,),
            num_sheets=args.sheets,
            sheet_folder=pathlib.Path(args.output, "sheets"),
        )
        report = tables.write_report(args.output, found)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(report)
    return 0


def _check_mode(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the process unless the flags are those of exactly one of the two uses."""
    of_checkpoint = (args.checkpoint, args.data)
    of_folders = (args.results, args.target, args.input)
    if not (
        (all(of_checkpoint) and not any(of_folders))
        or (all(of_folders) and not any(of_checkpoint))
    ):
        parser.error(
            "give either --checkpoint and --data, or --results, --target and --input"
        )


def _named_folder(text: str) -> tuple[str, str]:
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=DIR, not {text!r}")
    return name, folder


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0, not {text!r}")
    return int(text)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ttl_jax.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    network = parser.add_argument_group("a checkpoint on pairs")
    network.add_argument(
        "--checkpoint", metavar="DIR", help="run folder of a trained network"
    )
    network.add_argument(
        "--data",
        nargs="+",
        metavar="SOURCE",
        help="pairs, each source a set of its own: sample/test, folder:PATH, "
        "list:FILE, tfds:NAME/SPLIT",
    )
    folders = parser.add_argument_group(
        "results in folders",
        "Images belong together by their path within the folder, less the suffix.",
    )
    folders.add_argument(
        "--results",
        action="append",
        type=_named_folder,
        metavar="NAME=DIR",
        help="a method and the folder of its results; repeat for more methods",
    )
    folders.add_argument("--target", metavar="DIR", help="folder of the clean images")
    folders.add_argument("--input", metavar="DIR", help="folder of the rainy images")
    both = parser.add_argument_group("both")
    both.add_argument(
        "--protocol",
        choices=[*image_quality.PROTOCOLS, "all"],
        default=image_quality.DEFAULT_PROTOCOL,
        help="how PSNR and SSIM are defined (default: %(default)s)",
    )
    both.add_argument(
        "--sheets",
        type=_count,
        default=0,
        metavar="N",
        help="write before/after pictures of N images of each set (default: 0)",
    )
    both.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder for the scores; made if it is not there",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
