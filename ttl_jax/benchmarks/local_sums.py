"""Time of channel attention with local sums, compared with sums over the whole image.

The columns are
- cell in pixels of the image (0: sums over the whole image); radius in cells;
- milliseconds to restore one window, median of the measurements; their ratio to those
  of the first kind of sums;
- the same for an update.

Networks have random weights, since values do not affect the time.
"""

import functools
from collections.abc import Callable, Sequence

import jax

from configs import scratch
from ttl_jax.benchmarks import restore, timing, updates
from ttl_jax.inference import programs
from ttl_jax.stages.stage import make_stage

TABLES = "benchmark_sums.json"


def run(
    *,
    preset: str,
    sums: Sequence[tuple[int, int]],
    side: int,
    crop_size: int,
    batch_size: int,
    rounds: int,
    output: str | None,
) -> str:
    """Measures windows and updates with all kinds of sums."""
    cases = {}
    for kind in sums:
        fields: dict[str, int] = dict(zip(("attention_cell", "attention_radius"), kind))
        program = updates.compile_update(
            preset, "scratch", "float32", crop_size, batch_size, encoder=fields
        )
        cases["forward", *kind] = _make_forward(preset, fields, side)
        cases["update", *kind] = program.run
    seconds = timing.take_turns(cases, rounds)
    rows = []
    for kind in sums:
        row: dict[str, float] = dict(zip(("cell", "radius"), kind))
        for name, count in (("forward", 1), ("update", updates.STEPS)):
            row[f"{name}_ms"] = 1000 * seconds[name, *kind] / count
            row[f"{name}_ratio"] = seconds[name, *kind] / seconds[name, *sums[0]]
        rows.append(row)
    title = (
        f"`{preset}` on one {jax.devices()[0].device_kind}, float32: a window of {side} "
        f"pixels, an update of {batch_size} crops of {crop_size}, {rounds} turns each"
    )
    return timing.report({"sums": timing.Table(title, rows)}, output, TABLES)


def _make_forward(preset: str, fields: dict, side: int) -> Callable[[], object]:
    """Returns a function that restores one window."""
    config = scratch.get_config(preset)
    config.encoder.update(fields)
    networks = restore.make_networks(make_stage(config))
    parts = [programs.Part.of(network) for network in networks]
    image = jax.random.uniform(jax.random.key(0), (1, side, side, 3))
    forward = functools.partial(programs.restore, *parts, image)
    jax.block_until_ready(forward())
    return forward
