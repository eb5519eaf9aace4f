"""Compares weights with local sums of different sizes on large photographs, in one table.

    python launch/sums_table.py --checkpoint 192=runs/shipped/sums_192 \\
        --checkpoint 320=runs/shipped/sums_320 \\
        --pairs H=list:runs/lists/pairs_validation_Rain100H.txt \\
        --clean list:runs/lists/clean_validation.txt \\
        --rainy list:runs/lists/rainy_large.txt --output scores/sums

The table has a row for each of the weights. The columns are

- the gain in PSNR on the pairs, in dB;
- the PSNR of rain-free photographs against themselves, in dB, mean and worst;
- on rainy photographs (see `evaluate --agreement`): the mean change, the disagreement of
  crops and whole photograph (mean and worst), the smallest ratio of their changes, and the
  seams between windows;
- the seconds per megapixel of the rainy photographs.

The underlying scores are written to subfolders of --output.
"""

import argparse
import pathlib
import sys
import time
from typing import Any

import pandas as pd

import ttl_jax
from ttl_jax import atomic_files, command_line
from ttl_jax.data.sources import source_names
from ttl_jax.reports import examples, markdown
from ttl_jax.reports.scores import evaluation

# Column, metric, statistic over the images and format.
CLEAN = (("rain-free, mean", "psnr", "mean", ".1f"), ("worst", "psnr", "min", ".1f"))
RAINY = (
    ("change", "mean_change", "mean", ".2f"),
    ("disagreement, mean", "disagreement", "mean", ".3f"),
    ("disagreement, worst", "disagreement", "max", ".3f"),
    ("change ratio, least", "change_ratio", "min", ".2f"),
    ("seam", "seam", "mean", ".2f"),
    ("seam, 95 %", "seam_high", "max", ".2f"),
)


def seconds_per_megapixel(checkpoint: str, rainy: str) -> float:
    """Returns the time to restore the photographs of a source, without compilation.

    The result is in seconds per megapixel.
    """
    network = ttl_jax.load(checkpoint)
    seconds, pixels = 0.0, 0
    for photograph in source_names.open_photographs(rainy, "rainy"):
        image = photograph.load()
        network.restore(image)  # compiles, if it is the first of its size
        start = time.perf_counter()
        network.restore(image)
        seconds += time.perf_counter() - start
        pixels += photograph.width * photograph.height
    return seconds / pixels * 1e6


def make_cells(scores: pd.DataFrame, method: str, columns) -> dict[str, str]:
    """Returns the statistics of a method by column; "-" if no image has the metric."""
    rows: Any = scores[scores["method"] == method]
    cells = {}
    for title, metric, statistic, form in columns:
        value: float = rows[metric].agg(statistic) if metric in rows else float("nan")
        cells[title] = "-" if pd.isna(value) else format(value, form)
    return cells


def make_table(checkpoints, args: argparse.Namespace) -> pd.DataFrame:
    """Scores the sets and returns the table, with one row for each of the weights."""

    # Each set takes long, and a fault in the last one must not come after all others.
    atomic_files.check_folder(args.output)
    for source in (*args.pairs, f"identity:{args.clean}", args.rainy):
        examples.open_source(source_names.split_name(source)[1])

    def score(name, sets, **options):
        return evaluation.score(checkpoints, sets, output=args.output / name, **options)

    pairs = score("pairs", args.pairs)
    clean = score("clean", f"clean=identity:{args.clean}")
    rainy = score("rainy", f"rainy={args.rainy}", agreement=True)
    rows = []
    for name, path in checkpoints:
        gains = {
            f"{set_name}, gain": f"{by_protocol['y_uint8'][name]['psnr_gain']:+.2f}"
            for set_name, by_protocol in pairs.summary.items()
        }
        rows.append(
            {"weights": name, **gains}
            | make_cells(clean.per_image, name, CLEAN)
            | make_cells(rainy.per_image, name, RAINY)
            | {"s/megapixel": f"{seconds_per_megapixel(path, args.rainy):.2f}"}
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Scores the sets that the flags name, writes the table and prints it."""
    parser = command_line.make_parser("launch.sums_table", __doc__)
    # fmt: off
    add = parser.add_argument
    add("--checkpoint", action="append", required=True, metavar="NAME=DIR",
        type=command_line.named("NAME=DIR"), help="weights to compare; repeat for more")
    add("--pairs", nargs="+", required=True, metavar="NAME=SOURCE", help="sets of pairs")
    add("--clean", required=True, metavar="SOURCE", help="rain-free photographs")
    add("--rainy", required=True, metavar="SOURCE", help="large rainy photographs")
    add("--output", required=True, type=pathlib.Path, metavar="DIR")
    # fmt: on
    args = parser.parse_args()
    try:
        text = markdown.table(make_table(args.checkpoint, args)) + "\n"
        atomic_files.write_bytes(args.output / "sums.md", text.encode())
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(text)


if __name__ == "__main__":
    command_line.start()
    main()
