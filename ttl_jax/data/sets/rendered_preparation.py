"""Plans sets of pairs whose rain is rendered ahead of time.

With live rain, a photograph gets new rain each time it is read. If rain is rendered ahead of
time, there is a fixed number of variants, and reading one only takes decoding.
"""

import functools
import os
from typing import cast

from ttl_jax.data import randomness, sources
from ttl_jax.data.files import decoding
from ttl_jax.data.sets import record_writer
from ttl_jax.data.sets.preparation import RENDERED, Plan, require_own_name
from ttl_jax.data.sets.record_writer import Contents, Part
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import LivePair, NoPairsError
from ttl_jax.data.sources.records import Row

# Variants that are made together share the clean photograph, which is encoded once.
_NUM_TOGETHER = 4


def make_plan(name: str | None, source: str, num_variants: int, seed: int) -> Plan:
    """Returns the plan of a set of rendered pairs, all in the split "train".

    Args:
      source: One of `sources.LIVE_RAIN`. Its photographs are opened and checked.
      num_variants: Number of renderings of each photograph.
      seed: Seed of the rain, 0 or more.

    Raises:
      ValueError: If an argument is invalid, or the source cannot be opened or has no rain.
    """
    name = require_own_name(name, RENDERED)
    if num_variants < 1:
        raise ValueError(f"--variants is {num_variants}; expected 1 or more.")
    if seed < 0:
        raise ValueError(f"--seed is {seed}; expected 0 or more.")
    pairs = _open(source)
    rains = dict.fromkeys(pair.rain for pair in pairs)
    files = [line for pair in pairs for line in pair.describe()]
    streaks = [line for rain in rains for p in rain.pairs for line in p.describe()]
    description = (
        f"{decoding.printable(source)}, {len(pairs)} photographs in {num_variants} "
        f"variants of seed {seed}"
    )
    return Plan(
        name,
        description,
        [files + [f"streaks {line}" for line in streaks], num_variants, seed],
        functools.partial(_make_contents, name, description, pairs, num_variants, seed),
        [base.absolute for base in source_names.parse(source).bases()],
    )


def _open(source: str) -> list[LivePair]:
    try:
        pairs = source_names.open_pairs(source)
    except NoPairsError:
        pairs = []
    if not pairs or not all(pair.rains for pair in pairs):
        raise ValueError(
            f"--source {source!r} renders no rain; expected one of "
            f"{sources.LIVE_RAIN}, such as rain:folder:/photos/clean."
        )
    if len({pair.clean.name for pair in pairs}) < len(pairs):
        raise ValueError(
            f"--source {source!r} renders several kinds of rain on the same photographs; "
            "prepare one set for each kind."
        )
    return cast(list[LivePair], pairs)


def _make_contents(
    name: str, description: str, pairs: list[LivePair], num_variants: int, seed: int
) -> Contents:
    prefix = os.path.commonprefix([pair.clean.name for pair in pairs])
    folder = prefix[: prefix.rfind("/") + 1]
    parts = []
    for pair in pairs:
        scene = pair.clean.name.removeprefix(folder)
        image_bytes = record_writer.estimate_png(pair.width, pair.height)
        for first in range(0, num_variants, _NUM_TOGETHER):
            variants = range(first, min(first + _NUM_TOGETHER, num_variants))
            make = functools.partial(_render_part, pair, scene, variants, seed)
            parts.append(Part(len(variants), 2 * len(variants) * image_bytes, make))
    num_examples = len(pairs) * num_variants
    return Contents(
        image_names=("rainy", "clean"),
        splits={"train": parts},
        summary=f"train: {num_examples} examples",
        report=f"# {name}\n\nRendered from {description}.\n\n"
        f"| split | examples |\n|---|---|\n| train | {num_examples} |",
    )


def _render_part(
    pair: LivePair, scene: str, variants: range, seed: int
) -> list[tuple[Row, list[bytes]]]:
    """Renders variants of a pair; rain depends only on scene, variant and seed."""
    clean = pair.clean.load()
    if clean.shape != (pair.height, pair.width, 3):
        raise ValueError(
            f"{pair.clean.name} changed while the set was prepared; prepare it again."
        )
    encoded_clean = record_writer.encode_png(clean)
    made = []
    for variant in variants:
        rng = randomness.rng_of(scene, variant, seed)
        rainy = pair.rain.render(clean, clean, max(clean.shape), rng)
        encoded = [record_writer.encode_png(rainy), encoded_clean]
        sizes = [len(data) for data in encoded]
        name = f"{scene}/{variant}"
        made.append((Row(name, scene, pair.width, pair.height, sizes, scene), encoded))
    return made
