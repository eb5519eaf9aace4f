"""How long a network takes to restore an image, and how that grows with its pixels.

Networks have random weights: their values change nothing. All sizes of all presets, and
a plain stack of convolutions as a yardstick, take turns.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import nnx

from configs import scratch
from ttl_jax.benchmarks import timing, yardstick
from ttl_jax.models import complexity, traffic
from ttl_jax.stages.stage import make_stage
from ttl_jax.training import flat_params

TABLES = "benchmark_restore.json"


@dataclasses.dataclass(frozen=True)
class Latency:
    """Restoring one image of one size.

    Attributes:
      preset: Of the network.
      side: Of the square image, in pixels.
      params_m: Parameters, millions.
      gmacs: Multiply-adds of convolutions and matrix products, 10^9.
      compile_s: Seconds to compile.
      ms: Milliseconds, median of the rounds.
      megapixels_per_s: Of the same.
      over_yardstick: The same over that of `yardstick.PlainStack` at 256 pixels, scaled
        to this number of pixels.
      bytes_per_pixel: Memory beside weights and image, by the compiler's account.
      share_of_peak: Operations over the time, over those of a large matrix product.
      floor_ms: Time to move the bytes that restoring must move, see `traffic`, as fast
        as a large array is changed.
      share_of_floor: The same over `ms`; at 1, only less to move would be faster.
    """

    preset: str
    side: int
    params_m: float
    gmacs: float
    compile_s: float
    ms: float
    megapixels_per_s: float
    over_yardstick: float
    bytes_per_pixel: float
    share_of_peak: float
    floor_ms: float
    share_of_floor: float


@dataclasses.dataclass(frozen=True)
class Growth:
    """How the time of a preset grows: as the pixels to the power of `exponent`."""

    preset: str
    exponent: float


@dataclasses.dataclass(frozen=True)
class _Program:
    """A compiled network with what is known of it."""

    run: Callable[[], jax.Array]
    num_params: int
    multiply_adds: int
    floor_bytes: float
    compile_seconds: float
    temporary_bytes: int


def run(
    *, presets: Sequence[str], sides: Sequence[int], rounds: int, output: str | None
) -> str:
    """Measures all presets at all sizes.

    Args:
      presets: Of `configs/common.py`.
      sides: Of the square images, in pixels.
      rounds: Turns of every case.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as Markdown tables.

    Raises:
      ValueError: If a preset is unknown.
      OSError: If the file cannot be written.
    """
    latencies = measure(presets, sides, rounds)
    growths = [
        Growth(preset, _exponent([row for row in latencies if row.preset == preset]))
        for preset in presets
    ]
    if output is not None:
        timing.write_json(output, TABLES, {"latencies": latencies, "growth": growths})
    device = jax.devices()[0].device_kind
    return "\n".join(
        [
            f"Restoring one image on one {device}, float32, {rounds} turns each:\n",
            timing.tabulate(Latency, latencies),
            *(["", timing.tabulate(Growth, growths)] if len(sides) > 1 else []),
        ]
    )


def measure(presets: Sequence[str], sides: Sequence[int], rounds: int) -> list[Latency]:
    """Latencies of all presets at all sizes, as `run`."""
    programs = {
        (preset, side): _compile(
            _Network(preset, rngs=nnx.Rngs(0)), side, _floor_bytes(preset, side)
        )
        for preset in presets
        for side in sides
    }
    stack = _compile(yardstick.PlainStack(rngs=nnx.Rngs(0)), yardstick.SIDE)
    product, operations = yardstick.matrix_product("float32")
    cases = {case: program.run for case, program in programs.items()}
    copy, copied_bytes = yardstick.copy()
    cases |= {("stack",): stack.run, ("product",): product, ("copy",): copy}
    seconds = timing.take_turns(cases, rounds, _seconds)
    peak = operations / seconds[("product",)]
    bandwidth = copied_bytes / seconds[("copy",)]
    rows = []
    for (preset, side), program in programs.items():
        elapsed, pixels = seconds[preset, side], side**2
        floor_seconds = program.floor_bytes / bandwidth
        of_stack = seconds[("stack",)] * pixels / yardstick.SIDE**2
        rows.append(
            Latency(
                preset=preset,
                side=side,
                params_m=program.num_params / 1e6,
                gmacs=program.multiply_adds / 1e9,
                compile_s=program.compile_seconds,
                ms=1000 * elapsed,
                megapixels_per_s=pixels / 1e6 / elapsed,
                over_yardstick=elapsed / of_stack,
                bytes_per_pixel=program.temporary_bytes / pixels,
                share_of_peak=2 * program.multiply_adds / elapsed / peak,
                floor_ms=1000 * floor_seconds,
                share_of_floor=floor_seconds / elapsed,
            )
        )
    return rows


class _Network(nnx.Module):
    """An encoder and an image decoder as one."""

    def __init__(self, preset: str, *, rngs: nnx.Rngs):
        modules = make_stage(scratch.get_config(preset)).modules
        self.encoder = modules["encoder"](rngs=rngs)
        self.decoder = modules["decoder"](rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        return self.decoder(self.encoder(image), image)


def _floor_bytes(preset: str, side: int) -> float:
    """Bytes that restoring an image must move at least, but for the weights."""
    config = scratch.get_config(preset)
    stage = make_stage(config)
    numbers = sum(
        traffic.describe(
            stage.describe_module(name), config.encoder.stem_stride
        ).inference()
        for name in stage.modules
    )
    return numbers * side**2 * np.dtype("float32").itemsize


def _compile(network: nnx.Module, side: int, floor_bytes: float = 0.0) -> _Program:
    graph, params = flat_params.split_module(network)
    image = jax.random.uniform(jax.random.key(0), (1, side, side, 3))

    def restore(params, image):
        return flat_params.merge_module(graph, params)(image)

    start = time.perf_counter()
    program = jax.jit(restore).lower(params, image).compile()
    compile_seconds = time.perf_counter() - start
    run_once = functools.partial(program, params, image)
    run_once().block_until_ready()
    return _Program(
        run_once,
        complexity.num_params(network),
        complexity.multiply_adds(restore, params, image),
        floor_bytes,
        compile_seconds,
        program.memory_analysis().temp_size_in_bytes,
    )


def _seconds(run_once: Callable[[], jax.Array]) -> float:
    start = time.perf_counter()
    run_once().block_until_ready()
    return time.perf_counter() - start


def _exponent(rows: Sequence[Latency]) -> float:
    """Slope of the logarithm of the time over that of the pixels, least squares."""
    if len(rows) < 2:
        return math.nan
    pixels = np.log([row.side**2 for row in rows])
    return float(np.polyfit(pixels, np.log([row.ms for row in rows]), 1)[0])
