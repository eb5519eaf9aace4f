"""Finds the parts of rain-free photographs that a network changes most, to train on them.

    python launch/hard_negatives.py --checkpoint runs/x/derain \\
        --clean list:runs/lists/clean_train.txt --output runs/hard --share 0.15

Each rain-free photograph is restored, and the square that changes most is found. The worst
squares are written to the folder as PNG files. The file report.csv has one row for each
photograph, the worst first. Its columns are file (empty if not written), photograph,
top and left of the square in pixels, and the PSNR of square and whole photograph in dB.
Train on the folder with the source identity:folder:runs/hard, beside other pairs. Use
only training photographs: the scene of a square is no longer known. A second run
replaces the folder.
"""

import argparse
import math
import os
import pathlib
import re
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import tqdm
from PIL import Image

import ttl_jax
from ttl_jax import atomic_files, command_line
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Photograph

REPORT = "report.csv"


class Square(NamedTuple):
    """The square of a photograph that changes most; a row of the report.

    Attributes:
      file: Name of its file, independent of the location of the photograph's folder.
      photograph: Name of the whole photograph.
      top: First row, in pixels.
      left: First column, in pixels.
      psnr_square: PSNR of the restored square against the photograph, in dB; inf: no
        change.
      psnr_whole: PSNR of the whole photograph, in dB.
    """

    file: str
    photograph: str
    top: int
    left: int
    psnr_square: float
    psnr_whole: float


def find_worst(errors: np.ndarray, side: int) -> tuple[int, int]:
    """Returns top and left of the square with the largest sum of errors.

    Args:
      errors: Errors of each pixel, [H, W], integers: sums are exact.
      side: Side of the square, in pixels; clipped to the height and to the width.
    """
    height, width = (min(side, length) for length in errors.shape)
    sums = np.pad(errors.cumsum(0, np.int64).cumsum(1), ((1, 0), (1, 0)))
    rows = sums[height:] - sums[:-height]
    boxes = rows[:, width:] - rows[:, :-width]
    top, left = np.unravel_index(boxes.argmax(), boxes.shape)
    return int(top), int(left)


def psnr_of(errors: np.ndarray) -> float:
    """Returns the PSNR in dB from squared errors of 8-bit levels, summed over channels."""
    mean = errors.mean() / 3
    return 10 * math.log10(255**2 / mean) if mean else math.inf


def find_square(
    photograph: Photograph, restore: Callable[[np.ndarray], np.ndarray], side: int
) -> Square:
    """Returns the square of `side` pixels that `restore` changes most.

    Args:
      restore: Function from uint8 [H, W, 3] to the same.
    """
    image = photograph.load()
    errors = np.square(restore(image).astype(np.int32) - image).sum(-1)
    top, left = find_worst(errors, side)
    psnr = psnr_of(errors[top : top + side, left : left + side])
    file, name = name_file(photograph), photograph.name
    return Square(file, name, top, left, psnr, psnr_of(errors))


def name_file(photograph: Photograph) -> str:
    """Returns the name of the file of a photograph's square."""
    path = pathlib.PurePath(photograph.name)
    stem = re.sub(r"\W+", "_", path.name)[-60:]
    return f"{stem}-{zlib.crc32('/'.join(path.parts[-3:]).encode()):08x}.png"


def check_names(photographs: Sequence[Photograph]) -> None:
    """Raises ValueError if the squares of two photographs have one file."""
    by_file: dict[str, str] = {}
    for photograph in photographs:
        if other := by_file.get(file := name_file(photograph)):
            raise ValueError(
                f"{photograph.name} and {other} have the same name and folders; rename "
                "one."
            )
        by_file[file] = photograph.name


def check_replaceable(folder: pathlib.Path) -> None:
    """Raises ValueError unless a folder is absent, empty, or written by this script.

    It must be possible to replace it.
    """
    atomic_files.check_folder(folder.parent)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"--output {folder} is not a folder; name another.")
    own, report = {REPORT}, folder / REPORT
    if report.is_file():
        table = pd.read_csv(report, dtype=str)
        own |= set(table["file"]) if "file" in table else set()
    if others := sorted(set(os.listdir(folder)) - own):
        raise ValueError(
            f"--output {folder} holds {len(others)} files that this script did not "
            f"write, such as {others[0]}; name another."
        )


def write(
    folder: pathlib.Path,
    squares: list[Square],
    count: int,
    side: int,
    photographs: dict[str, Photograph],
) -> None:
    """Writes `count` squares and the report of all, and replaces the folder at once."""
    report = pd.DataFrame(squares)
    report.loc[count:, "file"] = ""
    with atomic_files.atomic_folder(folder) as made:
        report.to_csv(made / REPORT, index=False, float_format="%.2f")
        for square in squares[:count]:
            image = photographs[square.photograph].load()
            part = image[square.top :, square.left :][:side, :side]
            Image.fromarray(part).save(made / square.file)


def parse_arguments() -> argparse.Namespace:
    """Returns the checked flags."""
    parser = command_line.make_parser("launch.hard_negatives", __doc__)
    # fmt: off
    add = parser.add_argument
    add("--checkpoint", help="run or packed file; default: the shipped weights")
    add("--clean", required=True, help="source of rain-free photographs")
    add("--output", type=pathlib.Path, required=True, help="folder to write")
    add("--side", type=int, default=320,
        help="side of the squares, in pixels; default: %(default)s")
    add = parser.add_mutually_exclusive_group().add_argument
    add("--share", type=command_line.share, default="0.15",
        help="share of photographs whose squares are written; default: %(default)s")
    add("--below", type=float,
        help="write all squares with a PSNR below this, in dB")
    # fmt: on
    args = parser.parse_args()
    if args.side < 8:
        parser.error(f"--side is {args.side}; expected 8 or more.")
    return args


def main() -> None:
    """Reads the flags, restores every photograph and writes the worst squares."""
    args = parse_arguments()
    try:
        check_replaceable(args.output)
        photographs = source_names.open_photographs(args.clean, "clean")
        check_names(photographs)
        restore = ttl_jax.load(args.checkpoint).restore
        squares = [find_square(p, restore, args.side) for p in tqdm.tqdm(photographs)]
        squares.sort(key=lambda square: (square.psnr_square, square.photograph))
        count = math.ceil(args.share * len(squares))
        if args.below is not None:
            count = sum(square.psnr_square < args.below for square in squares)
        by_name = {photograph.name: photograph for photograph in photographs}
        write(args.output, squares, count, args.side, by_name)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(
        f"{args.output}: wrote {count} squares from {len(squares)} photographs; the worst "
        f"{squares[0].psnr_square:.1f} dB"
    )


if __name__ == "__main__":
    command_line.start()
    main()
