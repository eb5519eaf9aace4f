"""Speed of the input pipeline, and how long training steps wait for it.

Crops per second are measured from opened sources to finished batches, in one process.
They are compared with a plain Pillow loop on the same files: open, decode, crop,
mirror, one photograph after another. The variants alternate. A pair counts as one crop.
The readers are `LOOP`; `FILES`, which decodes for every crop; `CACHE`; and `RAIN`,
which renders rain on crops of cached photographs instead of reading pairs.

Updates are measured in milliseconds: `resident`, with one batch that is already on the
device; `fed`, in the training loop with batches from the cache; `host`, the CPU time of the
loop's thread. A ratio of `fed` to `resident` of 1 means that loop and input cost
nothing. As long as `host` is less than `resident`, an accelerator does not wait for
this thread.
"""

import functools
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from configs import recon, scratch
from ttl_jax.benchmarks import timing
from ttl_jax.data.loading import pipeline
from ttl_jax.data.sources import source_names
from ttl_jax.stages.stage import make_stage
from ttl_jax.training import loop, origins, sharding, train_log

# Config of each task, and the field of its source. The task derain uses random weights, but
# its input and updates are those of fine-tuning.
TASKS = {"recon": (recon, "clean"), "derain": (scratch, "pairs")}
LOOP, FILES, CACHE, RAIN = "Pillow loop", "files", "cache", "live rain"
TABLES = "benchmark_input.json"

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg"}
_JPEG_QUALITY = 90
_NUM_PAIRS = 24  # embedded pairs, evenly spaced
_BATCHES_AHEAD = 8
_NO_LIMIT = 1024.0  # GiB
_TIMED_STEPS = 10  # per measurement


def run(
    *,
    clean: str | None,
    pairs: str | None,
    preset: str,
    dtype: str,
    crop_size: int,
    batch_size: int,
    threads: Sequence[int],
    rounds: int,
    seconds: float,
    output: str | None,
) -> str:
    """Measures crops per second and step times."""
    if (clean is None) != (pairs is None):
        raise ValueError("Use both --clean and --pairs, or neither.")
    with tempfile.TemporaryDirectory() as folder:
        if clean is None:
            data = write_sample(pathlib.Path(folder))
        else:
            data = {"given": {"clean": clean, "pairs": pairs}}
        rates = measure_crops(data, crop_size, threads, rounds, seconds)
        sources = next(iter(data.values()))
        fields = {"crop_size": crop_size, "batch_size": batch_size}
        fields |= {"compute_dtype": dtype, "num_threads": max(threads)}
        times = measure_steps(sources, preset, fields, rounds)
    crops = f"Crops of {crop_size} pixels, {rounds} turns of {seconds:g} s each"
    steps = (
        f"Milliseconds per update of {preset}, {dtype}, {batch_size} crops of {crop_size} "
        f"pixels on {jax.device_count()} x "
        f"{jax.devices()[0].device_kind}"
    )
    tables = {"crops": timing.Table(crops, rates), "steps": timing.Table(steps, times)}
    return timing.report(tables, output, TABLES)


def write_sample(folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """Writes the embedded photographs and some of their pairs as PNG and JPEG files.

    Returns:
      Sources by name of the file set and by field, for `measure_crops`.
    """
    clean = source_names.open_photographs("sample", "clean")
    pairs = source_names.open_pairs("sample")
    pairs = pairs[:: len(pairs) // _NUM_PAIRS]
    photographs = {f"clean/{i}": photograph for i, photograph in enumerate(clean)}
    for i, pair in enumerate(pairs):
        photographs |= {f"pairs/rainy/{i}": pair.rainy, f"pairs/clean/{i}": pair.clean}
    for name, photograph in photographs.items():
        image = Image.fromarray(photograph.load())
        for files, suffix in _SUFFIXES.items():
            path = folder / files / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=_JPEG_QUALITY)
    fields = ("clean", "pairs")
    return {
        files: {field: f"folder:{folder / files / field}" for field in fields}
        for files in _SUFFIXES
    }


def measure_crops(
    data: Mapping[str, Mapping[str, str]],
    crop_size: int,
    threads: Sequence[int],
    rounds: int,
    seconds: float,
) -> list[dict]:
    """Measures every task, set of files and reader.

    Args:
      data: Sources by name of the file set and by field.

    Returns:
      One row per variant.
    """
    cases: dict[tuple, Callable[[], int]] = {}
    for task, files in itertools.product(TASKS, data):
        config = _make_config(task, data[files], "small")
        config.crop_size = crop_size
        cases[task, files, LOOP, 1] = _make_loop(config, TASKS[task][1])
        readers = (FILES, CACHE, RAIN) if task == "derain" else (FILES, CACHE)
        for reader, count in itertools.product(readers, threads):
            config.num_threads = count
            config.cache_gib = 0.0 if reader == FILES else _NO_LIMIT
            if reader == RAIN:
                config.pairs = (f"rain:{data[files]['clean']}",)
            cases[task, files, reader, count] = _make_reader(config)
    rates = timing.take_turns(cases, rounds, functools.partial(_rate, seconds=seconds))
    return [
        {
            **dict(zip(("task", "files", "reader", "threads"), case)),
            "crops_per_second": rate,
            "over_loop": rate / rates[(*case[:2], LOOP, 1)],
        }
        for case, rate in rates.items()
    ]


def measure_steps(
    sources: Mapping[str, str], preset: str, fields: Mapping[str, Any], rounds: int
) -> list[dict]:
    """Measures updates of every task, with and without input.

    Returns:
      One row per task.
    """
    cases = {}
    for task in TASKS:
        config = _make_config(task, sources, preset)
        config.update(fields)
        config.cache_gib = _NO_LIMIT
        cases |= {(task, kind): f for kind, f in _make_turns(config).items()}
    times = timing.take_turns(cases, rounds, lambda turn: turn())
    rows = []
    for task in TASKS:
        resident, fed, host = (times[task, k] for k in ("resident", "fed", "host"))
        ratios = {"ratio": fed / resident, "host": host, "host_share": host / resident}
        rows.append({"task": task, "resident": resident, "fed": fed, **ratios})
    return rows


def _make_config(task: str, sources: Mapping[str, str], preset: str):
    module, field = TASKS[task]
    config = module.get_config(preset)
    config[field], config.prefetch = (sources[field],), _BATCHES_AHEAD
    return config


def _make_reader(config) -> Callable[[], int]:
    """Returns a function that reads a batch and returns its number of crops."""
    data = pipeline.open_training_data(config)
    batches = data.batches(0)
    for _ in range(2 * data.epoch_steps):  # fills the cache
        next(batches)

    def read() -> int:
        next(batches)
        return config.batch_size

    return read


def _make_loop(config, field: str) -> Callable[[], int]:
    """Returns a function that makes a batch with Pillow and returns its number of crops."""
    elements = source_names.open_each(config[field], field)[config[field][0]]
    rng = np.random.default_rng(0)

    def read() -> int:
        rows = []
        for i in rng.integers(len(elements), size=config.batch_size):
            item, where, is_mirrored = elements[i], rng.random(2), rng.random() < 0.5
            crop = functools.partial(_crop, config.crop_size, where, is_mirrored)
            rows.append([crop(side.name) for side in item.sides])
        np.stack(rows)
        return config.batch_size

    return read


def _crop(size: int, where: np.ndarray, is_mirrored: bool, path: str) -> np.ndarray:
    with Image.open(path) as image:
        left, top = (where * (np.array(image.size) - size)).astype(int)
        crop = image.convert("RGB").crop((left, top, left + size, top + size))
    if is_mirrored:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(crop)


def _make_turns(config) -> dict[str, Callable[[], float]]:
    """Returns functions that measure the milliseconds of an update, by kind."""
    mesh = sharding.make_mesh()
    data = pipeline.open_training_data(config)
    stage = make_stage(config)
    computation, first = loop.make_computation(
        config, stage, mesh, origins.load(stage, pathlib.Path()), data.epoch_steps
    )
    log = train_log.TrainLog(0, config.batch_size, data.epoch_steps)
    looped = jax.tree.map(jnp.copy, first)
    updated = loop.updates(computation, mesh, looped, data.batches(0), log)
    resident = sharding.place_batch(mesh, next(data.batches(0)))

    def update_alone() -> None:
        nonlocal first
        for _ in range(_TIMED_STEPS):
            first, _ = computation.train_step(
                first, computation.networks.frozen, resident
            )
        jax.block_until_ready(first)

    def update_in_loop() -> None:
        for _ in range(_TIMED_STEPS):
            last = next(updated)
        log.summary()
        jax.block_until_ready(last)

    update_in_loop()  # compiles, and fills the cache
    return {
        "resident": lambda: _milliseconds(update_alone, time.perf_counter),
        "fed": lambda: _milliseconds(update_in_loop, time.perf_counter),
        "host": lambda: _milliseconds(update_in_loop, time.thread_time),
    }


def _rate(read: Callable[[], int], *, seconds: float) -> float:
    for _ in range(2 * _BATCHES_AHEAD):  # drop batches made during other measurements
        read()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        count += read()
    return count / elapsed


def _milliseconds(run_turn: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    run_turn()
    return 1000 * (clock() - start) / _TIMED_STEPS
