"""Measures how synthetic rain differs from real rain: the analysis of the paper's Fig. 2.

Examples:

  python -m ttl_jax.analyze --real photographs/rainy --clean photographs/clean \\
      --synthetic Rain100H=Rain100H/test --output analysis
  python -m ttl_jax.analyze --real SPA=tfds:spa_data/test \\
      --synthetic rendered=rain:folder:photographs/clean \\
      --synthetic added=additive:folder:photographs/clean --output analysis

Measures NIQE, the damage (the rise of NIQE caused by rain), and how far synthetic rain
covers real rain in a feature space. Each is measured on the images as they are, and on
images brought to one size and JPEG quality. Writes analysis.md, analysis.json and the
figures as PNG.
"""

import argparse
import sys
from collections.abc import Sequence

from ttl_jax import atomic_files, command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Analyzes the sets that the flags name; returns the exit status."""
    parser = _make_parser()
    args = parser.parse_args(arguments)
    if (args.features == "encoder") != bool(args.checkpoint):
        parser.error("--features encoder and --checkpoint go together")
    # Imported after parsing, so that --help is quick.
    from ttl_jax.reports.rain_analysis import analyzer, rain_sets

    try:
        embed, features = None, analyzer.NIQE_FEATURES
        if args.checkpoint:
            from ttl_jax import compilation_cache
            from ttl_jax.inference import encoder

            compilation_cache.enable()
            network = encoder.Encoder.from_checkpoint(args.checkpoint)
            embed, features = network.embed, network.description
        atomic_files.check_folder(args.output)
        names = ("num_images", "side", "quality", "seed", "scenes")
        chosen = {name: getattr(args, name) for name in names}
        settings = analyzer.Settings(features=features, **chosen)
        sets = rain_sets.open_sets(
            args.real,
            args.synthetic,
            args.clean,
            num_images=args.num_images,
            seed=args.seed,
        )
        analysis = analyzer.analyze(sets, settings, embed)
        print(analyzer.write_report(args.output, analysis))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return 0


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.analyze", __doc__)
    _add_sets(parser)
    _add_settings(parser.add_argument_group("settings"))
    add = parser.add_argument_group("output").add_argument
    text = "folder for the report, the numbers and the figures; made if missing"
    add("--output", required=True, type=command_line.path, metavar="DIR", help=text)
    return parser


def _add_sets(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group(
        "sets",
        "A SOURCE is a folder, or folder:PATH, list:FILE, tfds:NAME/SPLIT, rain:CLEAN, "
        "additive:CLEAN, streaks:PAIRS on CLEAN, sample. For pairs, the damage is measured "
        "image by image.",
    ).add_argument
    for kind in ("real", "synthetic"):
        add(
            f"--{kind}",
            action="append",
            required=True,
            metavar="[NAME=]SOURCE",
            help=f"a set of {kind} rain, by default named after its folder; repeat for more",
        )
    add(
        "--clean",
        nargs="+",
        default=[],
        metavar="SOURCE",
        help="rain-free photographs to compare unpaired real ones with",
    )
    add(
        "--images",
        dest="num_images",
        type=command_line.count(1),
        default=500,
        metavar="N",
        help="maximum number of images per set, drawn at random (default: %(default)s)",
    )
    add(
        "--scenes",
        metavar="CSV",
        help="file with the columns path and scene; images of one scene, such as the "
        "frames of a video, count as one in intervals and draws, like near-duplicates",
    )


def _add_settings(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--features",
        choices=["niqe", "encoder"],
        default="niqe",
        help="feature space of coverage and t-SNE: the statistics of NIQE, or a trained "
        "network's features (default: %(default)s)",
    )
    text = "run folder whose encoder computes features"
    add("--checkpoint", type=command_line.path, metavar="DIR", help=text)
    for flag, least, default, metavar, text in (
        ("--side", 1, 288, "PIXELS", "width and height of equalised images"),
        ("--quality", 1, 75, "Q", "JPEG quality of equalised images, 1 to 95"),
        ("--seed", 0, 0, "N", "seed of all draws"),
    ):
        kind, text = command_line.count(least), f"{text} (default: %(default)s)"
        add(flag, type=kind, default=default, metavar=metavar, help=text)


if __name__ == "__main__":
    command_line.start()
    sys.exit(main())
