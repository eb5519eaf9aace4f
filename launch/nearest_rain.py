"""Selects the pairs whose rain looks most like real rain, to train on them.

    python -m ttl_jax.prepare rendered --name kinds \\
        --source kinds:list:runs/lists/clean_train.txt --variants 8
    python launch/nearest_rain.py --pairs tfds:kinds/train \\
        --rainy list:runs/lists/rainy_train.txt --share 0.1 --output runs/nearest.txt
    python -m ttl_jax.main --config=derain --config.pairs=selection:runs/nearest.txt

The encoder of a recognition network maps the rainy side of each pair, and each real rainy
photograph, to the mean features of its central square of 192 pixels. Features are divided by
their standard deviation over the real photographs. In each round, every real photograph
chooses the nearest pair that is not chosen yet. The photograph with the smallest
distance chooses first. Rounds follow until a share of the pairs is chosen. In this way,
a frequent kind of rain does not displace the others. Every real photograph chooses a
pair if the share has at least as many pairs as there are real photographs.

The output is a text file for the source selection:FILE. Its comments say how many pairs
come from which source, with their distances. Pairs of live rain (rain:, kinds:) differ each
time they are read; render them first, as above.

Training on the pairs nearest to real rain follows UniRain (CVPR 2026).
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tqdm
from scipy.spatial import distance

from ttl_jax import atomic_files, command_line
from ttl_jax.data.sources import selections, source_names
from ttl_jax.data.sources.photographs import LivePair
from ttl_jax.inference import encoder
from ttl_jax.reports.rain_analysis import rain_features
from ttl_jax.weights import shipped


class Chosen(NamedTuple):
    """A chosen pair.

    Attributes:
      pair: Index of the pair.
      real: Index of the real photograph that chose it.
      distance: Distance of the two in the feature space, in standard deviations.
    """

    pair: int
    real: int
    distance: float


def choose(distances: np.ndarray, count: int) -> list[Chosen]:
    """Returns the pairs that the real photographs choose in turn.

    Args:
      distances: Distance of each pair to each real photograph, float [pairs, real].
      count: Number of pairs to choose, at most all.
    """
    free = np.array(distances, np.float64)
    chosen: list[Chosen] = []
    while len(chosen) < count:
        waiting = free.copy()  # of one round: each real photograph chooses once
        for _ in range(min(free.shape[1], count - len(chosen))):
            pair, real = np.unravel_index(waiting.argmin(), waiting.shape)
            chosen.append(Chosen(int(pair), int(real), float(waiting[pair, real])))
            waiting[pair], waiting[:, real], free[pair] = np.inf, np.inf, np.inf
    return chosen


def open_fixed_pairs(source: str) -> list[Any]:
    """Returns the pairs of a source whose images are the same each time they are read.

    Raises:
      ValueError: If the source has no pairs, is a selection, or renders its rain anew.
    """
    if "selection:" in source:
        raise ValueError(
            f"--pairs {source!r} is a selection, and a selection cannot select from "
            "another; name the sources of that file instead."
        )
    pairs = source_names.open_pairs(source)
    if any(isinstance(pair, LivePair) for pair in pairs):
        raise ValueError(
            f"--pairs {source!r} renders its rain anew each time, so no pair can be "
            "selected; render it once with `prepare rendered`."
        )
    return list(pairs)


def embed_all(network: encoder.Encoder, photographs: Sequence, what: str) -> np.ndarray:
    """Returns the features of photographs, float32 [N, width]."""
    return np.stack([network.embed(p.load()) for p in tqdm.tqdm(photographs, what)])


def describe(name: str, size: int, chosen: Sequence[Chosen]) -> str:
    """Returns one line about the pairs that are chosen from a source."""
    if not chosen:
        return f"{name}: 0 of {size}"
    far = np.array([choice.distance for choice in chosen])
    return (
        f"{name}: {len(chosen)} of {size}, distances {far.min():.2f} to {far.max():.2f}, "
        f"mean {far.mean():.2f}"
    )


def make_section(name: str, pairs: Sequence[Any]) -> selections.Section:
    """Returns the section of a selection that names some pairs of a source."""
    source = source_names.parse(name)
    lines = [tuple(source.relative(side.name) for side in pair.sides) for pair in pairs]
    return selections.Section(source.absolute, sorted(lines))


def select(args: argparse.Namespace) -> str:
    """Returns the text of the selection that the flags describe."""
    sources = {name: open_fixed_pairs(name) for name in args.pairs}
    pairs = [pair for group in sources.values() for pair in group]
    real = source_names.open_photographs(args.rainy, "rainy")
    path = shipped.find(args.recog, recognizes=True)
    network = encoder.Encoder.from_checkpoint(path)
    goal = embed_all(network, real, "real")
    features = embed_all(network, [pair.rainy for pair in pairs], "pairs")
    distances = distance.cdist(
        rain_features.standardise(features, goal), rain_features.standardise(goal, goal)
    )
    chosen = choose(distances, math.ceil(args.share * len(pairs)))
    comments = [f"nearest to {args.rainy}, by the {network.description}"]
    sections, first = [], 0
    for name, group in sources.items():
        last = first + len(group)
        own = [choice for choice in chosen if first <= choice.pair < last]
        comments.append(describe(name, len(group), own))
        sections.append(make_section(name, [pairs[choice.pair] for choice in own]))
        first = last
    return selections.to_text(comments, sections)


def parse_arguments() -> argparse.Namespace:
    """Returns the checked flags."""
    parser = command_line.make_parser("launch.nearest_rain", __doc__)
    # fmt: off
    add = parser.add_argument
    add("--pairs", nargs="+", required=True, metavar="SOURCE",
        help="sources of pairs to choose from")
    add("--rainy", required=True, metavar="SOURCE",
        help="real rainy photographs, of training only")
    add("--output", type=pathlib.Path, required=True, metavar="FILE",
        help="text file to write")
    add("--share", type=command_line.share, default="0.1",
        help="share of the pairs to choose; default: %(default)s")
    add("--recog", default=shipped.SHIPPED,
        help="recognition network whose encoder gives the features; default: %(default)s")
    # fmt: on
    args = parser.parse_args()
    if args.output.is_dir():
        parser.error(f"--output {args.output} is a folder; name a text file.")
    return args


def main() -> None:
    """Reads the flags, chooses the pairs and writes the selection."""
    args = parse_arguments()
    try:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        text = select(args)
        atomic_files.write_bytes(args.output, text.encode())
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    print("\n".join(line.removeprefix("# ") for line in comments))
    print(f"{args.output}: train with --config.pairs=selection:{args.output}")


if __name__ == "__main__":
    command_line.start()
    main()
