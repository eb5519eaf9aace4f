"""Finds the parts of rain-free photographs that a network changes most, to train on them.

    python launch/hard_negatives.py --checkpoint runs/x/derain \\
        --clean list:runs/lists/clean_train.txt --output runs/hard --share 0.15

Each rain-free photograph is restored, and the square that changes most is found. The worst
squares are written to the folder as PNG files, with report.csv, a row for each photograph,
the worst first: file (empty if not written), photograph, top and left of the square in
pixels, and the PSNR of the square and of the whole in dB. The folder is a source: train on
identity:folder:runs/hard besides other pairs. Use photographs for training alone, since
squares do not show their scene. A second run replaces the folder.
"""

import argparse
import csv
import math
import os
import pathlib
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tqdm
from PIL import Image

import ttl_jax
from ttl_jax import allocator
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Photograph

REPORT = "report.csv"
COLUMNS = ("file", "photograph", "top", "left", "psnr_square", "psnr_whole")


class Square(NamedTuple):
    """The square of a photograph that changes most.

    Attributes:
      photograph: The whole photograph.
      top: First row, in pixels.
      left: First column, in pixels.
      psnr: PSNR of the restored square against the photograph, in dB; inf: no change.
      psnr_whole: PSNR of the whole photograph, in dB.
    """

    photograph: Photograph
    top: int
    left: int
    psnr: float
    psnr_whole: float

    def cut(self, array: np.ndarray, side: int) -> np.ndarray:
        """Returns the square of an array [H, W, ...] of the photograph's size."""
        return array[self.top : self.top + side, self.left : self.left + side]

    @property
    def file(self) -> str:
        """Name of its file, independent of the location of the photograph's folder."""
        path = pathlib.PurePath(self.photograph.name)
        stem = re.sub(r"\W+", "_", path.name)[-60:]
        return f"{stem}-{zlib.crc32('/'.join(path.parts[-3:]).encode()):08x}.png"


def find_worst(errors: np.ndarray, side: int) -> tuple[int, int]:
    """Returns top and left of the square with the largest sum of errors.

    Args:
      errors: Errors of each pixel, [H, W], integers: sums are exact.
      side: Side of the square, in pixels; at most the height and width.
    """
    height, width = (min(side, length) for length in errors.shape)
    sums = np.zeros((errors.shape[0] + 1, errors.shape[1] + 1), np.int64)
    sums[1:, 1:] = errors.cumsum(0, np.int64).cumsum(1)
    rows = sums[height:] - sums[:-height]
    boxes = rows[:, width:] - rows[:, :-width]
    top, left = np.unravel_index(boxes.argmax(), boxes.shape)
    return int(top), int(left)


def psnr_of(errors: np.ndarray) -> float:
    """Returns the PSNR in dB from squared errors of 8-bit levels, summed over channels."""
    mean = errors.mean() / 3
    return 10 * math.log10(255**2 / mean) if mean else math.inf


def find_squares(
    photographs: Iterable[Photograph],
    restore: Callable[[np.ndarray], np.ndarray],
    side: int,
) -> Iterator[Square]:
    """Yields the worst square of each photograph.

    Args:
      photographs: Rain-free photographs.
      restore: Function from uint8 [H, W, 3] to the same.
      side: Side of the squares, in pixels.
    """
    for photograph in photographs:
        image = photograph.load()
        change = restore(image).astype(np.int32) - image
        errors = np.square(change).sum(-1)
        top, left = find_worst(errors, side)
        square = Square(photograph, top, left, math.inf, psnr_of(errors))
        yield square._replace(psnr=psnr_of(square.cut(errors, side)))


def check_replaceable(folder: pathlib.Path) -> None:
    """Raises ValueError unless a folder is absent, empty, or written by this script."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"--output {folder} is not a folder; name another.")
    own = {REPORT}
    report = folder / REPORT
    if report.is_file():
        with report.open(newline="") as file:
            own.update(row.get("file", "") for row in csv.DictReader(file))
    if others := sorted(set(os.listdir(folder)) - own):
        raise ValueError(
            f"--output {folder} holds {len(others)} files that this script did not "
            f"write, such as {others[0]}; name another."
        )


def write(
    folder: pathlib.Path, squares: Sequence[Square], count: int, side: int
) -> None:
    """Writes `count` squares and the report of all, and replaces the folder at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
    try:
        made = pathlib.Path(staging, "made")
        made.mkdir()
        for square in squares[:count]:
            Image.fromarray(square.cut(square.photograph.load(), side)).save(
                made / square.file
            )
        with (made / REPORT).open("w", newline="") as report:
            writer = csv.writer(report)
            writer.writerow(COLUMNS)
            for i, square in enumerate(squares):
                figures = f"{square.psnr:.2f}", f"{square.psnr_whole:.2f}"
                place = square.photograph.name, square.top, square.left
                writer.writerow((square.file if i < count else "", *place, *figures))
        earlier = pathlib.Path(staging, "earlier")
        if folder.exists():
            folder.rename(earlier)
        try:
            made.rename(folder)
        except OSError:
            if earlier.exists():
                earlier.rename(folder)
            raise
    finally:
        shutil.rmtree(staging)


def parse_arguments() -> argparse.Namespace:
    """Returns the checked flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", help="run or packed file; default: the shipped weights")
    add("--clean", required=True, help="source of rain-free photographs")
    add("--output", type=pathlib.Path, required=True, help="folder to write")
    add("--side", type=int, default=320, help="pixels; default: %(default)s")
    which = parser.add_mutually_exclusive_group()
    text = "share of photographs whose squares are written; default: %(default)s"
    which.add_argument("--share", type=float, default=0.15, help=text)
    text = "write all squares with a PSNR below this, in dB"
    which.add_argument("--below", type=float, help=text)
    arguments = parser.parse_args()
    if arguments.side < 8:
        parser.error(f"--side is {arguments.side}; expected 8 or more.")
    if not 0 < arguments.share <= 1:
        parser.error(f"--share is {arguments.share}; expected more than 0, at most 1.")
    return arguments


def main() -> None:
    """Reads the flags, restores every photograph and writes the worst squares."""
    arguments = parse_arguments()
    try:
        check_replaceable(arguments.output)
        photographs = source_names.open_photographs(arguments.clean, "clean")
        restorer = ttl_jax.load(arguments.checkpoint)
        found = find_squares(tqdm.tqdm(photographs), restorer.restore, arguments.side)
        squares = sorted(
            found, key=lambda square: (square.psnr, square.photograph.name)
        )
        count = math.ceil(arguments.share * len(squares))
        if arguments.below is not None:
            count = sum(square.psnr < arguments.below for square in squares)
        write(arguments.output, squares, count, arguments.side)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(
        f"{arguments.output}: {count} squares of {len(squares)} photographs; the worst "
        f"{squares[0].psnr:.1f} dB"
    )


if __name__ == "__main__":
    allocator.use_huge_pages()
    main()
