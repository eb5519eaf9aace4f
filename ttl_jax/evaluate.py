"""Scores restored images, beside the rainy input's own scores.

Examples: networks and untrained baselines on pairs; any methods' results in folders;
real photographs, which have no clean side; and the paper's Tables 3 and 4:

  python -m ttl_jax.evaluate --data sample/test --output scores
  python -m ttl_jax.evaluate --checkpoint ours=runs/derain --baseline median tv \\
      --data tfds:rain100l/test selection:test1.txt --protocol all --output scores
  python -m ttl_jax.evaluate --results ours=restored --results other=elsewhere \\
      --target Test100/target --input Test100/input --output scores
  python -m ttl_jax.evaluate --checkpoint shipped --checkpoint mine=runs/derain \\
      --data folder:rainy --niqe --recog --output scores
  python -m ttl_jax.evaluate --ablation runs/ablation --data tfds:rain100l/test \\
      --output scores

Writes table.md, per_image.csv and scores.json, and of an ablation
ablation_scores.json, into the output folder and prints the tables. Where no method is
named, the weights that come with the package are scored.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from ttl_jax import allocator, command_line
from ttl_jax.metrics import image_quality
from ttl_jax.weights import shipped


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
    _check_agreement(parser, args)
    # Imported once the flags are read: --help is quick.
    from ttl_jax import compilation_cache
    from ttl_jax.reports.scores import evaluation

    compilation_cache.enable()
    protocols = args.protocol or [image_quality.DEFAULT_PROTOCOL]
    if "all" in protocols:
        protocols = image_quality.PROTOCOLS
    try:
        report = evaluation.run(
            evaluation.Request(
                checkpoints=_find_checkpoints(args),
                baselines=args.baseline,
                ablation=args.ablation,
                results=args.results,
                data=args.data,
                rainy=args.input,
                target=args.target,
                protocols=tuple(protocols),
                with_niqe=args.niqe,
                recog=args.recog,
                with_agreement=args.agreement,
                masks=args.masks,
                scenes=args.scenes,
                num_sheets=args.sheets,
                output=pathlib.Path(args.output),
            )
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(report)
    return 0


def _check_mode(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the process unless the flags name images, methods, and nothing that clashes."""
    if bool(args.data) == bool(args.input):
        parser.error(
            "name the images to score: either --data, or --input (and --target)"
        )
    if args.data and (args.target or args.results):
        parser.error("--target and --results go with --input; --data has its own sides")
    if args.ablation and (args.checkpoint or args.baseline or args.results):
        parser.error("--ablation names all methods; give it without others")


def _check_agreement(parser, args: argparse.Namespace) -> None:
    """Ends the process where agreement is asked for and nothing can restore crops."""
    if args.agreement and not (
        _find_checkpoints(args) or args.baseline or args.ablation
    ):
        parser.error(
            "--agreement restores crops: name a network (--checkpoint) or --baseline too"
        )


def _find_checkpoints(args: argparse.Namespace) -> list[tuple[str | None, str]]:
    """The networks that are named; the package's own where no method is."""
    names_none = not (args.baseline or args.results or args.ablation)
    return args.checkpoint or [(None, shipped.SHIPPED)] * names_none


def _perhaps_named_folder(text: str) -> tuple[str | None, str]:
    # A folder's own name may hold the sign.
    if "=" in text and not pathlib.Path(text).exists():
        return command_line.named("NAME=DIR")(text)
    return None, text


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("evaluate", __doc__)
    _add_images(parser.add_argument_group("images"))
    _add_methods(parser.add_argument_group("methods"))
    scores = parser.add_argument_group("scores")
    scores.add_argument(
        "--protocol",
        action="extend",
        nargs="+",
        choices=[*image_quality.PROTOCOLS, "all"],
        help="how PSNR and SSIM are defined (default: "
        f"{image_quality.DEFAULT_PROTOCOL})",
    )
    scores.add_argument(
        "--niqe",
        action="store_true",
        help="NIQE too, which needs no clean image",
    )
    scores.add_argument(
        "--recog",
        metavar="DIR",
        nargs="?",
        const=shipped.SHIPPED,
        help="the rain score too, of the recognition network that comes with the "
        "package, or of a run's folder",
    )
    scores.add_argument(
        "--agreement",
        action="store_true",
        help="restore crops of each image too, and report how far they agree with the "
        "whole, and how windows meet",
    )
    scores.add_argument(
        "--scenes",
        metavar="FILE",
        help="CSV file with the columns path and scene, where intervals cannot tell "
        "scenes by their clean images",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--sheets",
        type=command_line.count(0),
        default=0,
        metavar="N",
        help="write pictures of all methods side by side, of N images of each set "
        "(default: 0)",
    )
    output.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder for the scores; made if it is not there",
    )
    return parser


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--data",
        action="extend",
        nargs="+",
        metavar="[NAME=]SOURCE",
        help="pairs, or rainy photographs alone, each source a set of its own: "
        "sample/test, folder:PATH, list:FILE, tfds:NAME/SPLIT, selection:FILE",
    )
    group.add_argument("--input", metavar="DIR", help="folder of rainy images")
    group.add_argument(
        "--target",
        metavar="DIR",
        help="folder of the clean ones; partners have the same path but for the suffix, "
        "or for common parts of names such as _derained",
    )
    group.add_argument(
        "--masks",
        metavar="DIR",
        help="folder of images that are bright where the rain is, named as the rainy "
        "ones: the change inside and outside is told",
    )


def _add_methods(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        type=_perhaps_named_folder,
        metavar="[NAME=]DIR",
        help="run folder of a trained network, DIR/best for the best step of a run with "
        "config.best_metric, a packed run, or shipped: the weights that come with the "
        "package; repeat for more (default: shipped, where no other method is named)",
    )
    group.add_argument(
        "--baseline",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME",
        help="restorers that need no training: median, opening, guided, tv, nlm",
    )
    group.add_argument(
        "--results",
        action="append",
        default=[],
        type=command_line.named("NAME=DIR"),
        metavar="NAME=DIR",
        help="a method and the folder of its results; repeat for more methods",
    )
    group.add_argument(
        "--ablation",
        metavar="DIR",
        help="workdir of configs/ablation.py: Tables 3 and 4, with the spread over seeds",
    )


if __name__ == "__main__":
    allocator.use_huge_pages()
    sys.exit(main())
