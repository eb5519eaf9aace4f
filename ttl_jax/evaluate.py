"""Scores restored images, beside the rainy input's own scores if it is given.

Examples: networks and untrained baselines on pairs; any methods' results in folders;
real photographs, which have no clean side; video; and the paper's Tables 3 and 4:

  python -m ttl_jax.evaluate --data sample/test --output scores
  python -m ttl_jax.evaluate --checkpoint ours=runs/derain --baseline median tv \\
      --data tfds:rain100l/test selection:test1.txt --protocol all --output scores
  python -m ttl_jax.evaluate --results ours=restored --results other=elsewhere \\
      --target Test100/target --input Test100/input --output scores
  python -m ttl_jax.evaluate --results ours=restored --target Test100/target --output scores
  python -m ttl_jax.evaluate --checkpoint shipped --checkpoint mine=runs/derain \\
      --data folder:rainy --niqe --recog --output scores
  python -m ttl_jax.evaluate --results ours=restored.mp4 --input clip.mp4 --flicker \\
      --output scores
  python -m ttl_jax.evaluate --ablation runs/ablation --data tfds:rain100l/test \\
      --output scores

Writes table.md, per_image.csv and scores.json into the output folder (for an ablation also
ablation_scores.json), and prints the tables. If no method is named, the weights included in
the package are scored.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import command_line
from ttl_jax.metrics import image_quality
from ttl_jax.weights import shipped


def main(arguments: Sequence[str] | None = None) -> int:
    """Scores the methods on the images that the flags name; returns the exit status."""
    parser = _make_parser()
    args = parser.parse_args(arguments)
    _check_flags(parser, args)
    if "all" in args.protocols:
        args.protocols = list(image_quality.PROTOCOLS)
    # Imported after the flags are read, so that --help is quick.
    from ttl_jax import compilation_cache
    from ttl_jax.reports.scores import evaluation

    compilation_cache.enable()
    try:
        print(evaluation.score(**vars(args)))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


def _check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the process if images are missing, or flags contradict; adds defaults."""
    has_folders = args.rainy or (args.results and args.target)
    if (args.data and args.rainy) or not (args.data or has_folders):
        parser.error(
            "name the images to score: either --data, or --input (and --target), or "
            "--results and --target"
        )
    if args.data and (args.target or args.results):
        parser.error(
            "--target and --results go without --data, which has its own sides"
        )
    if args.ablation and (args.methods or args.baselines or args.results):
        parser.error("--ablation names all methods; use it without other methods")
    restorers = args.methods or args.baselines or args.ablation
    if args.agreement and args.results and not restorers:
        parser.error(
            "--agreement restores crops: name a network (--checkpoint) or --baseline too"
        )
    if not (restorers or args.results):
        args.methods = [(None, shipped.SHIPPED)]
    args.protocols = args.protocols or [image_quality.DEFAULT_PROTOCOL]


def _named_or_folder(text: str) -> tuple[str | None, str]:
    # The name of the folder may contain "=".
    if "=" in text and not pathlib.Path(text).exists():
        return command_line.named("NAME=DIR")(text)
    return None, text


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.evaluate", __doc__)
    _add_images(parser.add_argument_group("images"))
    _add_methods(parser.add_argument_group("methods"))
    _add_scores(parser.add_argument_group("scores"))
    add = parser.add_argument_group("output").add_argument
    add(
        "--sheets",
        dest="num_sheets",
        type=command_line.count(0),
        default=0,
        metavar="N",
        help="draw all methods side by side for N images of each set (default: 0)",
    )
    text = "folder of the scores; made if missing"
    add("--output", required=True, type=command_line.path, metavar="DIR", help=text)
    return parser


def _add_images(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--data",
        action="extend",
        nargs="+",
        default=[],
        metavar="[NAME=]SOURCE",
        help="pairs, or rainy photographs alone; each source is a set: sample/test, "
        "folder:PATH, list:FILE, tfds:NAME/SPLIT, selection:FILE",
    )
    add(
        "--input",
        dest="rainy",
        type=command_line.path,
        metavar="DIR",
        help="folder of rainy images, or a video; --results with --target do not need "
        "it, but then have no gains",
    )
    add(
        "--target",
        metavar="DIR",
        help="folder of the clean images, or a video; partners have the same path, "
        "except for the suffix and for common parts of names such as _derained",
    )
    add(
        "--masks",
        metavar="DIR",
        help="folder of masks, bright where the rain is, with the names of the rainy "
        "images; adds the change inside and outside the rain",
    )


def _add_methods(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--checkpoint",
        dest="methods",
        action="append",
        default=[],
        type=_named_or_folder,
        metavar="[NAME=]DIR",
        help="run folder of a trained network, DIR/best for the best step of a run with "
        "config.best_metric, a packed run, or shipped: the weights that come with the "
        "package; repeat for more (default: shipped, if no other method is named)",
    )
    add(
        "--baseline",
        dest="baselines",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="restorers that need no training: median, opening, guided, tv, nlm",
    )
    add(
        "--results",
        action="append",
        default=[],
        type=command_line.named("NAME=DIR"),
        metavar="NAME=DIR",
        help="a method and the folder of its results, or a video; repeat for more "
        "methods",
    )
    text = "workdir of configs/ablation.py: Tables 3 and 4, with the spread over seeds"
    add("--ablation", metavar="DIR", help=text)


def _add_scores(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--protocol",
        dest="protocols",
        action="extend",
        nargs="+",
        default=[],
        choices=[*image_quality.PROTOCOLS, "all"],
        help=f"definitions of PSNR and SSIM (default: {image_quality.DEFAULT_PROTOCOL})",
    )
    add("--niqe", action="store_true", help="add NIQE, which needs no clean image")
    add(
        "--recog",
        metavar="DIR",
        nargs="?",
        const=shipped.SHIPPED,
        help="add the rain score of a recognition network: of the package, or of a run "
        "folder",
    )
    add(
        "--flicker",
        action="store_true",
        help="treat the images of a folder as frames of a video, in the order of their "
        "names, and add how much they flicker",
    )
    add(
        "--agreement",
        action="store_true",
        help="also restore crops of each image; report how far they agree with the "
        "whole image, and the seams between windows",
    )
    add(
        "--scenes",
        metavar="FILE",
        help="CSV file with the columns path and scene, for intervals over scenes that "
        "cannot be recognized by their clean images",
    )


if __name__ == "__main__":
    command_line.start()
    sys.exit(main())
