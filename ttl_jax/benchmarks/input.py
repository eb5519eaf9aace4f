"""How fast crops reach the trainer, and whether its steps wait for them.

Crops per second are measured from open files to finished batches, in one process,
beside a plain Pillow loop on the same files: open, decode, crop, mirror, one photograph
after another. The cases take turns, so that whatever else the machine does touches all
alike; the median of the rounds counts. A pair is one crop, of both of its sides.
"""

import dataclasses
import functools
import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from configs import recon, scratch
from ttl_jax.benchmarks import timing
from ttl_jax.data.loading import pipeline
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Pair
from ttl_jax.stages.stage import make_stage
from ttl_jax.training import loop, sharding, state, train_log

# The config of each task, and the field that names what it reads. The rain remover
# starts from random weights: its input and its updates are those of fine-tuning.
TASKS = {"recon": (recon, "clean"), "derain": (scratch, "pairs")}
LOOP, FILES, CACHE, RAIN = "Pillow loop", "files", "cache", "live rain"
TABLES = "benchmark_input.json"

_SUFFIXES = {"PNG": ".png", "JPEG": ".jpg"}
_JPEG_QUALITY = 90
_NUM_PAIRS = 24  # of the embedded ones, evenly spaced
_BATCHES_AHEAD = 8
_NO_LIMIT = 1024.0  # GiB
_TIMED_STEPS = 10  # in a turn


@dataclasses.dataclass(frozen=True)
class CropRate:
    """Crops per second of one way to read one set of files.

    Attributes:
      task: Key of `TASKS`.
      files: What is read, as "PNG".
      reader: `LOOP`, `FILES` (decoded for every crop), `CACHE`, or `RAIN` (rendered on
        each crop of the cached photographs, instead of reading pairs).
      threads: That read.
      crops_per_second: Median of the rounds.
      over_loop: The same over that of the Pillow loop on these files.
    """

    task: str
    files: str
    reader: str
    threads: int
    crops_per_second: float
    over_loop: float


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Milliseconds of an update, medians of the rounds.

    Attributes:
      task: Key of `TASKS`.
      resident: With one batch that lies on the device already.
      fed: By the training loop, with the batches of the input pipeline, from its cache.
      ratio: `fed` over `resident`; at 1 the loop and its input cost nothing.
      host: For which the loop's own thread computes, beside the device's work. As long
        as this is less than `resident`, an accelerator need not wait for it.
      host_share: `host` over `resident`.
    """

    task: str
    resident: float
    fed: float
    ratio: float
    host: float
    host_share: float


def run(
    *,
    clean: str | None,
    pairs: str | None,
    preset: str,
    crop_size: int,
    threads: Sequence[int],
    rounds: int,
    seconds: float,
    output: str | None,
) -> str:
    """Measures crops per second and step times.

    Args:
      clean: Source of photographs in files; None for the embedded ones, written as PNG
        and as JPEG.
      pairs: Source of pairs in files; as `clean`, and both are given or none.
      preset: Of the networks whose steps are timed.
      crop_size: In pixels.
      threads: Numbers of threads to read with.
      rounds: Turns of every case.
      seconds: Of a turn.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as Markdown tables.

    Raises:
      ValueError: If only one source is given, or as `pipeline.open_training_data`.
      OSError: If files cannot be written.
    """
    if (clean is None) != (pairs is None):
        raise ValueError("Name both photographs and pairs, or neither of them.")
    with tempfile.TemporaryDirectory() as folder:
        if clean is None:
            data = write_sample(pathlib.Path(folder))
        else:
            data = {"given": {"clean": clean, "pairs": pairs}}
        rates = measure_crops(data, crop_size, threads, rounds, seconds)
        named = next(iter(data.values()))
        times = measure_steps(named, preset, crop_size, max(threads), rounds)
    if output is not None:
        timing.write_json(output, TABLES, {"crops": rates, "steps": times})
    device = jax.devices()[0].device_kind
    return "\n".join(
        [
            f"Crops of {crop_size} pixels, {rounds} turns of {seconds:g} s each:\n",
            timing.tabulate(CropRate, rates),
            f"\nMilliseconds per update of {preset} on {jax.device_count()} x {device}:\n",
            timing.tabulate(StepTime, times),
        ]
    )


def write_sample(folder: pathlib.Path) -> dict[str, dict[str, str]]:
    """Writes the embedded photographs and some of their pairs as PNG and JPEG files.

    Returns:
      Sources by name of the file set and by field, as `measure_crops` takes them.
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
    return {
        files: {
            field: f"folder:{folder / files / field}" for field in ("clean", "pairs")
        }
        for files in _SUFFIXES
    }


def measure_crops(
    data: Mapping[str, Mapping[str, str]],
    crop_size: int,
    threads: Sequence[int],
    rounds: int,
    seconds: float,
) -> list[CropRate]:
    """Crops per second of every task, set of files and reader.

    Args:
      data: Sources by name of the file set and by field.
      crop_size: In pixels.
      threads: Numbers of threads to read with.
      rounds: Turns of every case.
      seconds: Of a turn.

    Raises:
      ValueError: As `pipeline.open_training_data`.
    """
    cases: dict[tuple, Callable[[], int]] = {}
    for task, files in itertools.product(TASKS, data):
        config = _make_config(task, data[files], "small", crop_size)
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
        CropRate(*case, rate, rate / rates[(*case[:2], LOOP, 1)])
        for case, rate in rates.items()
    ]


def measure_steps(
    named: Mapping[str, str], preset: str, crop_size: int, threads: int, rounds: int
) -> list[StepTime]:
    """Milliseconds per update of every task, with and without input.

    Args:
      named: Sources by field.
      preset: Of the networks.
      crop_size: In pixels.
      threads: That read.
      rounds: Turns of every case.

    Raises:
      ValueError: If the preset is unknown, or as `pipeline.open_training_data`.
    """
    cases = {}
    for task in TASKS:
        config = _make_config(task, named, preset, crop_size)
        config.num_threads, config.cache_gib = threads, _NO_LIMIT
        cases |= {(task, kind): f for kind, f in _make_turns(config).items()}
    times = timing.take_turns(cases, rounds, lambda turn: turn())
    rows = []
    for task in TASKS:
        resident, fed, host = (times[task, k] for k in ("resident", "fed", "host"))
        rows.append(
            StepTime(task, resident, fed, fed / resident, host, host / resident)
        )
    return rows


def _make_config(task: str, named: Mapping[str, str], preset: str, crop_size: int):
    module, field = TASKS[task]
    config = module.get_config(preset)
    config.crop_size, config[field] = crop_size, (named[field],)
    config.prefetch = _BATCHES_AHEAD
    return config


def _make_reader(config) -> Callable[[], int]:
    """A function that takes a batch and returns its number of crops."""
    data = pipeline.open_training_data(config)
    batches = data.batches(0)
    for _ in range(2 * data.epoch_steps):  # every image is in the cache then
        next(batches)

    def read() -> int:
        next(batches)
        return config.batch_size

    return read


def _make_loop(config, field: str) -> Callable[[], int]:
    """A function that makes a batch the plain way and returns its number of crops."""
    elements = source_names.open_each(config[field], field)[config[field][0]]
    rng = np.random.default_rng(0)

    def read() -> int:
        """Reads, crops and stacks a batch."""
        rows = []
        for i in rng.integers(len(elements), size=config.batch_size):
            item, where, is_mirrored = elements[i], rng.random(2), rng.random() < 0.5
            sides = (item.rainy, item.clean) if isinstance(item, Pair) else (item,)
            rows.append(
                [
                    _crop(side.name, config.crop_size, where, is_mirrored)
                    for side in sides
                ]
            )
        np.stack(rows)
        return config.batch_size

    return read


def _crop(path: str, size: int, where: np.ndarray, is_mirrored: bool) -> np.ndarray:
    with Image.open(path) as image:
        left, top = (where * (np.array(image.size) - size)).astype(int)
        crop = image.convert("RGB").crop((left, top, left + size, top + size))
    if is_mirrored:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(crop)


def _make_turns(config) -> dict[str, Callable[[], float]]:
    """Functions that update some times and return milliseconds of one, by kind."""
    mesh = sharding.make_mesh()
    data = pipeline.open_training_data(config)
    stage = make_stage(config)
    computation, first = loop.make_computation(
        config, stage, mesh, state.load_sources(stage, pathlib.Path()), data.epoch_steps
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
    for _ in range(2 * _BATCHES_AHEAD):  # made while others had their turn
        read()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        count += read()
    return count / elapsed


def _milliseconds(run_turn: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    run_turn()
    return 1000 * (clock() - start) / _TIMED_STEPS
