"""Draws the results of several methods side by side, with close-ups.

Examples, for pairs with the scores below each image, and for real rain without:

  python -m ttl_jax.sheet --results ours=restored --results other=elsewhere \\
      --input Test100/input --target Test100/target --images 12 57 \\
      --close_ups 2 --output figure.pdf
  python -m ttl_jax.sheet --results ours=restored --input photographs \\
      --images street --close_up 40,60,120,90 --output figure.png

Each image is a row and each method a column. A PNG shows the pixels unscaled. A PDF is as
wide as the text of a page; its text and frames are vectors.
"""

import argparse
import sys
from collections.abc import Sequence

from ttl_jax import command_line
from ttl_jax.metrics import image_quality
from ttl_jax.reports.sheets.close_ups import Box


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws the sheet that the flags describe; returns the exit status."""
    parser = _make_parser()
    args = parser.parse_args(arguments)
    # Imported after parsing, so that --help is quick.
    from ttl_jax.reports import examples
    from ttl_jax.reports.sheets import comparisons, sheets

    placed: dict[str, list[Box]] = {}
    for name, box in args.close_up:
        placed.setdefault(name, []).append(box)
    try:
        sheets.check_path(args.output)
        subjects, methods, notes = examples.open_folders(
            args.input, args.target, args.results
        )
        found = examples.Examples(subjects, methods)
        rows = comparisons.make_rows(
            found.pick(args.images),
            close_ups=args.close_ups or placed,
            protocol=None if args.protocol == "none" else args.protocol,
            with_names=args.names,
        )
        sheets.write_sheet(args.output, rows, panel_width=args.panel_width)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for note in notes:
        print(note)
    print(f"{args.output}: {len(rows)} rows of {len(rows[0].panels)} images")
    return 0


def _close_up(text: str) -> tuple[str, Box]:
    """Parses [IMAGE:]X,Y,WIDTH,HEIGHT to a name and a box; "" means every image."""
    name, _, numbers = text.rpartition(":")
    parts = numbers.split(",")
    if len(parts) != 4 or not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected [IMAGE:]X,Y,WIDTH,HEIGHT in pixels, not {text!r}"
        )
    return name, Box(*map(int, parts))


def _make_parser() -> argparse.ArgumentParser:
    parser = command_line.make_parser("ttl_jax.sheet", __doc__)
    add = parser.add_argument_group(
        "what to show",
        "Images are matched by their path within the folder, without the suffix and "
        "common parts of names such as _derained. Every image needs a partner in each "
        "folder.",
    ).add_argument
    add(
        "--results", action="append", required=True, metavar="NAME=DIR",
        type=command_line.named("NAME=DIR"),
        help="name of a method, which labels its column, and the folder of its results; "
        "repeat for more columns",
    )  # fmt: skip
    add(
        "--input",
        required=True,
        type=command_line.path,
        metavar="DIR",
        help="folder of the rainy images",
    )
    add(
        "--target", metavar="DIR",
        help="folder of the clean images, which are the last column and give the scores",
    )  # fmt: skip
    add(
        "--images", required=True, nargs="+", metavar="IMAGE",
        help="names of the clean images (without --target: of the rainy ones), without "
        "suffix; one row each",
    )  # fmt: skip
    group = parser.add_argument_group("how to show it")
    placing = group.add_mutually_exclusive_group()
    placing.add_argument(
        "--close_up", action="append", default=[], metavar="[IMAGE:]X,Y,W,H",
        type=_close_up,
        help="enlarge this box, in pixels from the upper left corner, in every image or "
        "in the named one; repeat for more",
    )  # fmt: skip
    placing.add_argument(
        "--close_ups", type=command_line.count(1), metavar="N",
        help="enlarge the N boxes in which the methods differ most",
    )  # fmt: skip
    group.add_argument(
        "--protocol", choices=[*image_quality.PROTOCOLS, "none"],
        default=image_quality.DEFAULT_PROTOCOL,
        help="definition of PSNR and SSIM below the images; none leaves them out "
        "(default: %(default)s)",
    )  # fmt: skip
    text = "write the image's name beside each row"
    group.add_argument("--names", action="store_true", help=text)
    group.add_argument(
        "--panel_width", type=command_line.count(1), metavar="PIXELS",
        help="width that all images are scaled to (default: width of the widest)",
    )  # fmt: skip
    text = "the sheet, .png or .pdf"
    parser.add_argument(
        "--output", required=True, type=command_line.path, metavar="FILE", help=text
    )
    return parser


if __name__ == "__main__":
    command_line.print_plain_warnings()
    sys.exit(main())
