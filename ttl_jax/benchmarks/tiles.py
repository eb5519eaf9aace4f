"""What restoring in tiles costs and loses, beside restoring the whole image.

Each case runs in a process of its own, which watches its own memory: what it allocates
while it restores, without pages of files such as the scratch file of exact tiles. The
networks are those of a checkpoint, or a preset's with random weights, whose values
change no time.
"""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import pathlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from configs import scratch
from ttl_jax.benchmarks import timing
from ttl_jax.data import decoding, sources
from ttl_jax.inference import restorer
from ttl_jax.stages.stage import make_stage

TABLES = "benchmark_tiles.json"

_WATCH_SECONDS = 0.01


@dataclasses.dataclass(frozen=True)
class Restoration:
    """One image of one size, restored in one way.

    Attributes:
      megapixels: Of the image.
      tiling: Of `restorer.TILINGS`.
      first_s: Seconds of the first one, with compiling.
      s: Seconds of the next one.
      s_per_megapixel: Of the same.
      memory_mib: What the process allocates at most, the restored image among it; on a
        GPU, of the host's memory.
      bytes_per_pixel: Of the same.
      psnr: To what the first tiling restores this size to, in dB, not of rounded levels;
        None if it is the same.
      largest_change: Of a value in [0, 1], likewise.
    """

    megapixels: float
    tiling: str
    first_s: float
    s: float
    s_per_megapixel: float
    memory_mib: float
    bytes_per_pixel: float
    psnr: float | None
    largest_change: float


class _Case(NamedTuple):
    """What a process is to restore, and how; as in `run`."""

    preset: str
    checkpoint: str | None
    image: str | None
    megapixels: float
    tiling: str


def run(
    *,
    preset: str,
    checkpoint: str | None,
    image: str | None,
    megapixels: Sequence[float],
    tilings: Sequence[str],
    output: str | None,
) -> str:
    """Measures all tilings at all sizes.

    Args:
      preset: Of `configs/common.py`; of random weights, without a checkpoint.
      checkpoint: A run's folder; None for the preset.
      image: A photograph, which is cut or continued by reflection to each size; None for
        an embedded one.
      megapixels: Sizes.
      tilings: "whole", "exact", "frozen"; results are compared with those of the first.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as a Markdown table.

    Raises:
      ValueError: If a preset, checkpoint or image is at fault, or does not fit.
      OSError: If a file cannot be written.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        paths = {tiling: pathlib.Path(folder, f"{tiling}.npy") for tiling in tilings}
        for size in megapixels:
            for tiling, path in paths.items():
                case = _Case(preset, checkpoint, image, size, tiling)
                rows.append(_measure(case, path, reference=paths[tilings[0]]))
    if output is not None:
        timing.write_json(output, TABLES, {"restorations": rows})
    network = checkpoint or preset
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    title = f"Restoring one image by {network}, whole and in tiles, on {device}:\n"
    return "\n".join([title, timing.tabulate(Restoration, rows)])


def _measure(
    case: _Case, path: pathlib.Path, *, reference: pathlib.Path
) -> Restoration:
    """Restores in a process of its own; the result lies in a file."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as process:
        first, second, num_bytes = process.submit(_restore, case, path).result()
    restored, expected = (np.load(each, mmap_mode="r") for each in (path, reference))
    pixels = restored.shape[0] * restored.shape[1]
    squares, largest = 0.0, 0.0
    for row, wanted in zip(restored, expected):
        change = np.abs(np.float64(row) - wanted)
        squares, largest = squares + np.sum(change**2), max(largest, change.max())
    psnr = -10 * float(np.log10(squares / restored.size)) if squares else None
    return Restoration(
        megapixels=pixels / 1e6,
        tiling=case.tiling,
        first_s=first,
        s=second,
        s_per_megapixel=second / pixels * 1e6,
        memory_mib=num_bytes / 2**20,
        bytes_per_pixel=num_bytes / pixels,
        psnr=psnr,
        largest_change=float(largest),
    )


def _restore(case: _Case, path: pathlib.Path) -> tuple[float, float, int]:
    """Seconds of the first and the second restoration, and bytes allocated in both."""
    network = _load(case)
    image = _make_image(case.image, case.megapixels)
    seconds = []
    with _watched_memory() as peak:
        for _ in range(2):
            start = time.perf_counter()
            restored = network.restore(image)
            seconds.append(time.perf_counter() - start)
    np.save(path, restored)
    return *seconds, peak()


def _load(case: _Case) -> restorer.Restorer:
    if case.checkpoint is not None:
        return restorer.Restorer.from_checkpoint(case.checkpoint, tiling=case.tiling)
    modules = make_stage(scratch.get_config(case.preset)).modules
    encoder, decoder = (
        modules[name](rngs=nnx.Rngs(i)) for i, name in enumerate(("encoder", "decoder"))
    )
    # The last layer starts at zero: the image would come back untouched.
    kernel = decoder.to_image.kernel
    kernel[...] = 0.01 * jax.random.normal(jax.random.key(0), kernel.shape)
    return restorer.Restorer(
        encoder, decoder, name=case.preset, step=0, tiling=case.tiling
    )


def _make_image(path: str | None, megapixels: float) -> np.ndarray:
    """A photograph as float32 in [0, 1], [H, W, 3], in the format 4:3."""
    if path is None:
        array = sources.open_photographs("sample/test", "rainy")[0].load()
    else:
        array = decoding.read_rgb8(path)
    sides = [round((megapixels * 1e6 * ratio) ** 0.5) for ratio in (3 / 4, 4 / 3)]
    array = array[: sides[0], : sides[1]]
    padding = [(0, side - have) for side, have in zip(sides, array.shape)]
    array = np.pad(array, (*padding, (0, 0)), mode="symmetric")
    return array.astype(np.float32) / 255


@contextlib.contextmanager
def _watched_memory() -> Iterator:
    """Yields a function: the most bytes allocated beyond those at the start."""
    found, done = [_anonymous_bytes()], threading.Event()

    def watch():
        while not done.wait(_WATCH_SECONDS):
            found.append(_anonymous_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: max(found) - found[0]
    finally:
        done.set()
        thread.join()


def _anonymous_bytes() -> int:
    """Memory of this process that is no page of a file (Linux)."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024
