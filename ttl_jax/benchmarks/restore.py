"""Time to restore an image, and its growth with the number of pixels.

Images are restored by `Restorer.restore`, in windows if the network allows it. Networks have
random weights, since values do not affect the time. Measurements alternate between all sizes
of all presets and a plain stack of convolutions, the yardstick.

The columns are

- side of the square image in pixels; number of windows;
- millions of parameters; 10^9 multiply-adds in all windows;
- seconds to compile all programs; memory of the largest program, reported by the compiler;
- milliseconds, median of the measurements; megapixels per second;
- time divided by that of `yardstick.PlainStack` for the same number of pixels;
- operations per second, divided by those of a large matrix product;
- the floor: milliseconds to move the bytes of `traffic` at the speed of changing a large
  array; and its share of the time.

A second table has the exponent of the growth: time grows as the number of pixels to this
power. A third table is for many images that several threads restore at once, as
`derain` restores a folder. It has images per second by the number of windows in a
batch, and their ratio to those of the first number.
"""

import collections
import concurrent.futures
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from configs import scratch
from ttl_jax.benchmarks import timing, traffic, yardstick
from ttl_jax.inference import programs
from ttl_jax.inference.restorer import Restorer
from ttl_jax.models import complexity
from ttl_jax.stages.stage import Stage, make_stage

TABLES = "benchmark_restore.json"
_LEAST_IMAGES = 8  # restored at once


class _Case(NamedTuple):
    """An image to restore: the function, the known columns, and the bytes to move."""

    run: Callable[[], object]
    columns: dict[str, float]
    floor_bytes: float


def run(
    *,
    presets: Sequence[str],
    sides: Sequence[int],
    batch_sizes: Sequence[int],
    rounds: int,
    output: str | None,
) -> str:
    """Measures all presets at all sizes, and many images at once if there are batch sizes."""
    latencies = _measure(presets, sides, rounds)
    device = jax.devices()[0].device_kind
    title = f"Restoring one image on one {device}, float32, {rounds} turns each"
    tables = {"latencies": timing.Table(title, latencies)}
    if len(set(sides)) > 1:
        growths = [
            {"preset": preset, "exponent": _exponent(latencies, preset)}
            for preset in dict.fromkeys(presets)
        ]
        title = "Exponents of the time over the number of pixels"
        tables["growth"] = timing.Table(title, growths)
    if batch_sizes:
        title = "Many images at once, by the number of windows in a batch"
        rates = _measure_batches(presets, sides, batch_sizes, rounds)
        tables["batches"] = timing.Table(title, rates)
    return timing.report(tables, output, TABLES)


def make_networks(stage: Stage) -> list[Any]:
    """Returns the encoder and the decoder of a stage, with random weights."""
    names = ("encoder", "decoder")
    return [stage.modules[name](rngs=nnx.Rngs(0)) for name in names]


def _measure(presets: Sequence[str], sides: Sequence[int], rounds: int) -> list[dict]:
    cases = {case: _restore(*case) for case in itertools.product(presets, sides)}
    product, operations = yardstick.matrix_product("float32")
    copy, copied_bytes = yardstick.copy()
    runs = {case: restoration.run for case, restoration in cases.items()}
    runs |= {("stack",): yardstick.run_stack(), ("product",): product, ("copy",): copy}
    seconds = timing.take_turns(runs, rounds)
    rows = []
    for (preset, side), case in cases.items():
        elapsed, num_pixels = seconds[preset, side], side**2
        floor_seconds = case.floor_bytes * seconds[("copy",)] / copied_bytes
        stack_seconds = seconds[("stack",)] * num_pixels / yardstick.SIDE**2
        peak = operations / seconds[("product",)]
        rows.append(
            {
                "preset": preset,
                "side": side,
                **case.columns,
                "ms": 1000 * elapsed,
                "megapixels_per_s": num_pixels / 1e6 / elapsed,
                "over_yardstick": elapsed / stack_seconds,
                "share_of_peak": 2e9 * case.columns["gmacs"] / elapsed / peak,
                "floor_ms": 1000 * floor_seconds,
                "share_of_floor": floor_seconds / elapsed,
            }
        )
    return rows


def _measure_batches(
    presets: Sequence[str],
    sides: Sequence[int],
    batch_sizes: Sequence[int],
    rounds: int,
) -> list[dict]:
    count = max(_LEAST_IMAGES, 2 * max(batch_sizes))
    cases = {
        (preset, side, size): _restore_many(preset, side, size, count)
        for preset, side, size in itertools.product(presets, sides, batch_sizes)
    }
    seconds = timing.take_turns(cases, rounds)
    return [
        {
            "preset": preset,
            "side": side,
            "batch_size": size,
            "images_per_s": count / elapsed,
            "megapixels_per_s": count * side**2 / 1e6 / elapsed,
            "ratio": seconds[preset, side, batch_sizes[0]] / elapsed,
        }
        for (preset, side, size), elapsed in seconds.items()
    ]


def _restore_many(
    preset: str, side: int, batch_size: int, count: int
) -> Callable[[], object]:
    """Returns a function that restores `count` images of noise by several threads."""
    networks = make_networks(make_stage(scratch.get_config(preset)))
    restorer = Restorer(*networks, name=preset, batch_size=batch_size)
    images = count * [_make_image(side)]

    def run_once() -> object:
        with concurrent.futures.ThreadPoolExecutor(2 * batch_size) as threads:
            return list(threads.map(restorer.restore, images))

    restorer.restore(images[0])  # a single window has a program of its own
    run_once()
    return run_once


def _make_image(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def _restore(preset: str, side: int) -> _Case:
    """Compiles the restoration of a square image of noise."""
    config = scratch.get_config(preset)
    stage = make_stage(config)
    networks = make_networks(stage)
    restorer = Restorer(*networks, name=preset)
    plan = restorer.plan(side, side)
    parts = [programs.Part.of(network) for network in networks]
    columns = {
        "windows": len(plan),
        "params_m": sum(map(complexity.num_params, networks)) / 1e6,
        "gmacs": 0.0,
        "compile_s": 0.0,
        "memory_mib": 0.0,
    }
    for shape, count in collections.Counter(window[2:] for window in plan).items():
        images = jax.ShapeDtypeStruct((restorer.batch_size, *shape, 3), "float32")
        _, seconds, memory = timing.compile(programs.restore, *parts, images)
        columns["compile_s"] += seconds
        columns["memory_mib"] = max(columns["memory_mib"], memory / 2**20)
        one = jax.ShapeDtypeStruct((1, *shape, 3), "float32")
        multiply_adds = complexity.multiply_adds(programs.restore, *parts, one)
        columns["gmacs"] += count * multiply_adds / 1e9
    window_side = max(max(window[2:]) for window in plan)
    descriptions = [stage.describe_module(name) for name in stage.modules]
    numbers_per_pixel = sum(
        traffic.describe(each, config.encoder.stem_stride, window_side).inference()
        for each in descriptions
    )
    run_once = functools.partial(restorer.restore, _make_image(side))
    run_once()
    return _Case(run_once, columns, numbers_per_pixel * side**2 * 4)  # float32


def _exponent(rows: Sequence[dict], preset: str) -> float:
    """Returns the slope of log time over log pixels, by least squares."""
    points = [(row["side"] ** 2, row["ms"]) for row in rows if row["preset"] == preset]
    pixels, times = np.log(points).T
    return float(np.polyfit(pixels, times, 1)[0])
