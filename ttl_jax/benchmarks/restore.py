"""How long a network takes to restore an image, and how that grows with its pixels.

Images are restored as users do it, by `Restorer.restore`: in windows, where the network
allows it. Networks have random weights: their values change nothing. All sizes of all
presets, and a plain stack of convolutions as a yardstick, take turns.
"""

import collections
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
from ttl_jax.inference import programs
from ttl_jax.inference.restorer import Restorer
from ttl_jax.models import complexity, traffic
from ttl_jax.stages.stage import make_stage

TABLES = "benchmark_restore.json"


@dataclasses.dataclass(frozen=True)
class Latency:
    """Restoring one image of one size.

    Attributes:
      preset: Of the network.
      side: Of the square image, in pixels.
      windows: Number of windows that it is restored in.
      params_m: Parameters, millions.
      gmacs: Multiply-adds of convolutions and matrix products in all windows, 10^9.
      compile_s: Seconds to compile the programs of all shapes of windows.
      ms: Milliseconds, median of the rounds.
      megapixels_per_s: Of the same.
      over_yardstick: The same over that of `yardstick.PlainStack` at 256 pixels, scaled
        to this number of pixels.
      memory_mib: Memory beside weights and images of the largest program, by the
        compiler's account.
      share_of_peak: Operations over the time, over those of a large matrix product.
      floor_ms: Time to move the bytes that restoring must move, see `traffic`, as fast
        as a large array is changed.
      share_of_floor: The same over `ms`; at 1, only less to move would be faster.
    """

    preset: str
    side: int
    windows: int
    params_m: float
    gmacs: float
    compile_s: float
    ms: float
    megapixels_per_s: float
    over_yardstick: float
    memory_mib: float
    share_of_peak: float
    floor_ms: float
    share_of_floor: float


@dataclasses.dataclass(frozen=True)
class Growth:
    """How the time of a preset grows: as the pixels to the power of `exponent`."""

    preset: str
    exponent: float


@dataclasses.dataclass(frozen=True)
class _Case:
    """Something to be timed, with what is known of its programs.

    Attributes:
      run: Does it once.
      num_windows: Images that the programs are called with.
      num_params: Parameters of the network.
      multiply_adds: In all calls of the programs.
      compile_seconds: Of all programs.
      temporary_bytes: Memory of the largest program.
    """

    run: Callable[[], object]
    num_windows: int
    num_params: int
    multiply_adds: int
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
    restorations = {
        (preset, side): _restore(preset, side) for preset in presets for side in sides
    }
    stack = _make_stack()
    product, operations = yardstick.matrix_product("float32")
    copy, copied_bytes = yardstick.copy()
    cases = {case: restoration.run for case, restoration in restorations.items()}
    cases |= {("stack",): stack, ("product",): product, ("copy",): copy}
    seconds = timing.take_turns(cases, rounds, _seconds)
    peak = operations / seconds[("product",)]
    bandwidth = copied_bytes / seconds[("copy",)]
    rows = []
    for (preset, side), case in restorations.items():
        elapsed, pixels = seconds[preset, side], side**2
        floor_seconds = _floor_bytes(preset, side) / bandwidth
        of_stack = seconds[("stack",)] * pixels / yardstick.SIDE**2
        rows.append(
            Latency(
                preset=preset,
                side=side,
                windows=case.num_windows,
                params_m=case.num_params / 1e6,
                gmacs=case.multiply_adds / 1e9,
                compile_s=case.compile_seconds,
                ms=1000 * elapsed,
                megapixels_per_s=pixels / 1e6 / elapsed,
                over_yardstick=elapsed / of_stack,
                memory_mib=case.temporary_bytes / 2**20,
                share_of_peak=2 * case.multiply_adds / elapsed / peak,
                floor_ms=1000 * floor_seconds,
                share_of_floor=floor_seconds / elapsed,
            )
        )
    return rows


def _restore(preset: str, side: int) -> _Case:
    """Restoring a square image of noise."""
    modules = make_stage(scratch.get_config(preset)).modules
    networks = [modules[name](rngs=nnx.Rngs(0)) for name in ("encoder", "decoder")]
    restorer = Restorer(*networks, name=preset, step=0)
    plan = restorer.plan(side, side)
    parts = [programs.Part.of(network) for network in networks]
    multiply_adds, compile_seconds, temporary_bytes = 0, 0.0, 0
    for shape, count in collections.Counter(window[2:] for window in plan).items():
        images = jax.ShapeDtypeStruct((restorer.batch_size, *shape, 3), "float32")
        start = time.perf_counter()
        program = programs.restore.lower(*parts, images).compile()
        compile_seconds += time.perf_counter() - start
        memory = program.memory_analysis().temp_size_in_bytes
        temporary_bytes = max(temporary_bytes, memory)
        one = jax.ShapeDtypeStruct((1, *shape, 3), "float32")
        multiply_adds += count * complexity.multiply_adds(programs.restore, *parts, one)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    run_once = functools.partial(restorer.restore, image)
    run_once()
    return _Case(
        run_once,
        len(plan),
        sum(map(complexity.num_params, networks)),
        multiply_adds,
        compile_seconds,
        temporary_bytes,
    )


def _make_stack() -> Callable[[], jax.Array]:
    """The yardstick's plain stack on its image."""
    stack = programs.Part.of(yardstick.PlainStack(rngs=nnx.Rngs(0)))
    image = jax.random.uniform(
        jax.random.key(0), (1, yardstick.SIDE, yardstick.SIDE, 3)
    )
    forward = jax.jit(lambda stack, image: stack.build()(image))
    forward(stack, image).block_until_ready()
    return functools.partial(forward, stack, image)


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


def _seconds(run_once: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run_once())
    return time.perf_counter() - start


def _exponent(rows: Sequence[Latency]) -> float:
    """Slope of the logarithm of the time over that of the pixels, least squares."""
    if len(rows) < 2:
        return math.nan
    pixels = np.log([row.side**2 for row in rows])
    return float(np.polyfit(pixels, np.log([row.ms for row in rows]), 1)[0])
