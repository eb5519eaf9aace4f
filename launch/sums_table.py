"""Compares weights with different sums at camera size, in one table.

    python launch/sums_table.py --checkpoint 192=runs/shipped/sums_192 \\
        --checkpoint 320=runs/shipped/sums_320 \\
        --pairs H=list:runs/lists/pairs_validation_Rain100H.txt \\
        --clean list:runs/lists/clean_validation.txt \\
        --rainy list:runs/lists/rainy_large.txt --output scores/sums

For each of the weights: the gain on the pairs (PSNR over the input, dB); the PSNR of
rain-free photographs to themselves, mean and worst; on rainy photographs the mean change,
the disagreement of crops and whole (mean and worst), the ratio of their changes (least),
and the seams between windows (see `evaluate --agreement`); and the seconds per megapixel
of the rainy photographs. The scores behind the table lie in folders of --output.
"""

import argparse
import csv
import json
import pathlib
import time

import numpy as np

import ttl_jax
from ttl_jax import allocator, atomic_files, command_line
from ttl_jax.data.sources import source_names
from ttl_jax.reports.scores import evaluation, tables


def score(
    checkpoints: list[tuple[str, str]], data: list[str], output: pathlib.Path, **flags
) -> tuple[dict, list[dict]]:
    """Scores sets; returns means as of scores.json, and the rows of per_image.csv."""
    request = evaluation.Request(
        checkpoints=checkpoints,
        data=data,
        protocols=("y_uint8",),
        output=output,
        **flags,
    )
    evaluation.run(request)
    with (output / tables.PER_IMAGE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads((output / tables.SCORES).read_text()), rows


def values_of(rows: list[dict], method: str, metric: str) -> np.ndarray:
    """A metric of one method's images, of those that have it."""
    found = [row[metric] for row in rows if row["method"] == method and row.get(metric)]
    return np.array(found, float)


def seconds_per_megapixel(checkpoint: str, rainy: str) -> float:
    """Time to restore the photographs of a source; each was restored once before."""
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


def show(form: str, values: np.ndarray, reduce) -> str:
    """A number, or - where there are no values."""
    return format(reduce(values), form) if len(values) else "-"


def make_rows(checkpoints, args: argparse.Namespace) -> list[list[str]]:
    """Scores the sets; returns the head of the table and a row for each of the weights."""
    pair_means, _ = score(checkpoints, args.pairs, args.output / "pairs")
    clean_set, rainy_set = [f"clean=identity:{args.clean}"], [f"rainy={args.rainy}"]
    _, clean = score(checkpoints, clean_set, args.output / "clean")
    _, rainy = score(checkpoints, rainy_set, args.output / "rainy", with_agreement=True)
    rows = [
        [
            "weights", *(f"{name}, gain" for name in pair_means), "rain-free, mean",
            "worst", "change", "disagreement, mean", "disagreement, worst",
            "change ratio, least", "seam", "seam, 95 %", "s/megapixel",
        ]
    ]  # fmt: skip
    for name, path in checkpoints:
        means = [by["y_uint8"][name]["psnr_gain"] for by in pair_means.values()]
        psnr = values_of(clean, name, "psnr")
        disagreement = values_of(rainy, name, "disagreement")
        rows.append(
            [
                name,
                *(f"{mean:+.2f}" for mean in means),
                show(".1f", psnr, np.mean),
                show(".1f", psnr, np.min),
                show(".2f", values_of(rainy, name, "mean_change"), np.mean),
                show(".3f", disagreement, np.mean),
                show(".3f", disagreement, np.max),
                show(".2f", values_of(rainy, name, "change_ratio"), np.min),
                show(".2f", values_of(rainy, name, "seam"), np.mean),
                show(".2f", values_of(rainy, name, "seam_high"), np.max),
                f"{seconds_per_megapixel(path, args.rainy):.2f}",
            ]
        )
    return rows


def main() -> None:
    """Scores what the flags name, writes the table and prints it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        required=True,
        type=command_line.named("NAME=DIR"),
        metavar="NAME=DIR",
        help="weights to compare; repeat for more",
    )
    parser.add_argument(
        "--pairs", nargs="+", required=True, metavar="NAME=SOURCE", help="sets of pairs"
    )
    parser.add_argument(
        "--clean", required=True, metavar="SOURCE", help="rain-free photographs"
    )
    parser.add_argument(
        "--rainy", required=True, metavar="SOURCE", help="large rainy photographs"
    )
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="DIR")
    args = parser.parse_args()
    rows = make_rows(args.checkpoint, args)
    text = "\n".join(tables.format_table(rows)) + "\n"
    with atomic_files.atomic_file(args.output / "sums.md") as file:
        file.write(text.encode())
    print(text)


if __name__ == "__main__":
    allocator.use_huge_pages()
    main()
