"""Draws the results of several methods side by side, with close-ups.

Examples, of pairs with the scores under each image, and of real rain without:

  python -m ttl_jax.sheet --results ours=restored --results other=elsewhere \\
      --input Test100/input --target Test100/target --images 12 57 \\
      --close_ups 2 --output figure.pdf
  python -m ttl_jax.sheet --results ours=restored --input photographs \\
      --images street --close_up 40,60,120,90 --output figure.png

Each image is a row and each method a column. PNG shows every pixel as it is; PDF has
writing and frames as vectors and the width of a page's text.
"""

import argparse
import sys
from collections.abc import Sequence

from ttl_jax import command_line
from ttl_jax.metrics import image_quality
from ttl_jax.reports.sheets.close_ups import Box


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the sheet that the flags describe.

    Args:
      arguments: The command line, by default the process's own.

    Returns:
      The exit status 0. A mistake in the command, images that do not belong together
      and damaged ones end the process with status 2 and one line.
    """
    parser = _make_parser()
    args = parser.parse_args(arguments)
    # Imported once the flags are read: --help is quick.
    from ttl_jax import compilation_cache
    from ttl_jax.reports.sheets import comparisons, examples, sheets

    compilation_cache.enable()
    try:
        sheets.check_suffix(args.output)
        folders = examples.ResultFolders(args.input, args.target, args.results)
        found = examples.Examples(folders.subjects, folders.methods)
        rows = comparisons.make_rows(
            found.pick(args.images),
            close_ups=args.close_ups or _by_image(args.close_up),
            protocol=None if args.protocol == "none" else args.protocol,
            with_names=args.names,
        )
        sheets.write_sheet(args.output, rows, panel_width=args.panel_width)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for note in folders.notes:
        print(note)
    print(f"{args.output}: {len(rows)} rows of {len(rows[0].panels)} images")
    return 0


def _by_image(placed: Sequence[tuple[str, Box]]) -> dict[str, list[Box]]:
    """The boxes of each image, those of every image under the empty name."""
    boxes = {}
    for name, box in placed:
        boxes.setdefault(name, []).append(box)
    return boxes


def _close_up(text: str) -> tuple[str, Box]:
    name, _, numbers = text.rpartition(":")
    parts = numbers.split(",")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected [IMAGE:]X,Y,WIDTH,HEIGHT in pixels, not {text!r}"
        )
    return name, Box(*map(int, parts))


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("sheet", __doc__)
    what = parser.add_argument_group(
        "what to show",
        "Images belong together by their path within the folder, less the suffix, or "
        "less common parts of names such as _derained. Every image needs its partners.",
    )
    what.add_argument(
        "--results",
        action="append",
        required=True,
        type=command_line.named("NAME=DIR"),
        metavar="NAME=DIR",
        help="a method, its column's label, and the folder of its results; repeat for "
        "more columns",
    )
    what.add_argument(
        "--input", required=True, metavar="DIR", help="folder of the rainy images"
    )
    what.add_argument(
        "--target",
        metavar="DIR",
        help="folder of the clean images, the last column; without it no scores",
    )
    what.add_argument(
        "--images",
        required=True,
        nargs="+",
        metavar="IMAGE",
        help="the images' names without suffix, those of the clean ones where there are "
        "any, one row each",
    )
    how = parser.add_argument_group("how to show it")
    placing = how.add_mutually_exclusive_group()
    placing.add_argument(
        "--close_up",
        action="append",
        default=[],
        type=_close_up,
        metavar="[IMAGE:]X,Y,W,H",
        help="enlarge this box, in pixels from the upper left, of every image or of "
        "the one named; repeat for more",
    )
    placing.add_argument(
        "--close_ups",
        type=command_line.count(1),
        metavar="N",
        help="enlarge the N boxes in which the methods differ most",
    )
    how.add_argument(
        "--protocol",
        choices=[*image_quality.PROTOCOLS, "none"],
        default=image_quality.DEFAULT_PROTOCOL,
        help="how PSNR and SSIM under the images are defined; none leaves them out "
        "(default: %(default)s)",
    )
    how.add_argument(
        "--names", action="store_true", help="write the image's name beside each row"
    )
    how.add_argument(
        "--panel_width",
        type=command_line.count(1),
        metavar="PIXELS",
        help="width that all images are scaled to (default: that of the widest)",
    )
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="the sheet, .png or .pdf"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
