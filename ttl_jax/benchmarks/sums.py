"""What local sums of channel attention cost, beside sums over the whole image.

Networks have random weights: their values change nothing.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax
from flax import nnx

from configs import scratch
from ttl_jax.benchmarks import timing, updates
from ttl_jax.inference import programs
from ttl_jax.stages.stage import make_stage

TABLES = "benchmark_sums.json"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Time of a network with one kind of sums.

    Attributes:
      cell: Side of a cell in pixels of the image; 0 for sums over the whole image.
      radius: Cells on each side of a cell that its sums include.
      forward_ms: Milliseconds to restore one window, median of the rounds.
      forward_ratio: The same over that of the first kind.
      update_ms: Milliseconds of an update, median of the rounds.
      update_ratio: The same over that of the first kind.
    """

    cell: int
    radius: int
    forward_ms: float
    forward_ratio: float
    update_ms: float
    update_ratio: float


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
    """Measures windows and updates with all kinds of sums in turns.

    Args:
      preset: Of `configs/common.py`.
      sums: Cell and radius of each kind; the first is what the others are compared with.
      side: Side of the window, in pixels.
      crop_size: Side of the crops of an update, in pixels.
      batch_size: Crops of a batch.
      rounds: Turns of every case.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as a Markdown table.

    Raises:
      ValueError: If a value is at fault.
      OSError: If the file cannot be written.
    """
    cases = {("forward", *kind): _make_forward(preset, kind, side) for kind in sums}
    cases |= {
        ("update", *kind): updates.compile_update(
            preset, "scratch", "float32", crop_size, batch_size, encoder=_fields(kind)
        ).run
        for kind in sums
    }
    seconds = timing.take_turns(cases, rounds, _seconds)
    rows = [
        Cost(
            *kind,
            forward_ms=1000 * seconds["forward", *kind],
            forward_ratio=seconds["forward", *kind] / seconds["forward", *sums[0]],
            update_ms=1000 * seconds["update", *kind] / updates.STEPS,
            update_ratio=seconds["update", *kind] / seconds["update", *sums[0]],
        )
        for kind in sums
    ]
    if output is not None:
        timing.write_json(output, TABLES, {"sums": rows})
    title = (
        f"`{preset}` on one {jax.devices()[0].device_kind}, float32: a window of {side} "
        f"pixels, an update of {batch_size} crops of {crop_size}, {rounds} turns each:\n"
    )
    return "\n".join([title, timing.tabulate(Cost, rows)])


def _fields(kind: tuple[int, int]) -> dict[str, int]:
    """Fields of `config.encoder`."""
    cell, radius = kind
    return {"attention_cell": cell, "attention_radius": radius}


def _make_forward(
    preset: str, kind: tuple[int, int], side: int
) -> Callable[[], object]:
    """Restores one window."""
    config = scratch.get_config(preset)
    config.encoder.update(_fields(kind))
    modules = make_stage(config).modules
    parts = [
        programs.Part.of(modules[name](rngs=nnx.Rngs(0)))
        for name in ("encoder", "decoder")
    ]
    image = jax.random.uniform(jax.random.key(0), (1, side, side, 3))
    forward = functools.partial(programs.restore, *parts, image)
    jax.block_until_ready(forward())
    return forward


def _seconds(run_once: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run_once())
    return time.perf_counter() - start
