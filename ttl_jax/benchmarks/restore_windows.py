"""Windows of several sides and overlaps: seams, seconds and memory, on photographs."""

import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np

from ttl_jax.benchmarks import timing
from ttl_jax.data.sources import source_names
from ttl_jax.inference import programs
from ttl_jax.inference.restorer import Restorer
from ttl_jax.metrics import agreement
from ttl_jax.weights import trained

TABLES = "benchmark_windows.json"


@dataclasses.dataclass(frozen=True)
class Windows:
    """What one side and overlap give, over all photographs.

    Attributes:
      side: Largest side of a window, in pixels.
      overlap: Pixels that neighbours share.
      windows: Number of windows.
      arithmetic: Pixels of all windows over those of the photographs.
      seam: Step of brightness where windows meet, levels of 255, mean along all borders.
      seam_high: 95 % quantile of the same, of the photograph where it is largest.
      s_per_megapixel: Seconds to restore a megapixel.
      memory_mib: Memory of the largest window, by the compiler's account.
    """

    side: int
    overlap: int
    windows: int
    arithmetic: float
    seam: float
    seam_high: float
    s_per_megapixel: float
    memory_mib: float


def run(
    *,
    checkpoint: str | None,
    photographs: str,
    sides: Sequence[int],
    overlaps: Sequence[int],
    output: str | None,
) -> str:
    """Restores photographs with all sides and overlaps.

    Args:
      checkpoint: Weights with local sums, as of `Restorer.from_checkpoint`.
      photographs: A source of rainy photographs larger than one window.
      sides: Largest sides of windows, in pixels.
      overlaps: Pixels that neighbours share.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as a Markdown table.

    Raises:
      ValueError: If the weights or the photographs cannot be opened, or no photograph has
        several windows.
    """
    modules, _ = trained.rebuild(
        checkpoint, Restorer.factories, purpose=Restorer.purpose
    )
    images = [
        photograph.load()
        for photograph in source_names.open_photographs(photographs, "rainy")
    ]
    rows = [
        _measure(modules, images, side, overlap)
        for side in sides
        for overlap in overlaps
    ]
    if output is not None:
        timing.write_json(output, TABLES, {"windows": rows})
    device = jax.devices()[0].device_kind
    title = f"{len(images)} photographs on one {device}:\n"
    return "\n".join([title, timing.tabulate(Windows, rows)])


def _measure(modules, images: Sequence[np.ndarray], side: int, overlap: int) -> Windows:
    restorer = Restorer(**modules, name="network", step=0, side=side, overlap=overlap)
    plans = [restorer.plan(*image.shape[:2]) for image in images]
    found, seconds = [], 0.0
    for image in images:
        seams = agreement.measure_seams(
            restorer.restore_windows(image), image.shape[:2]
        )
        found += [seams] if seams else []
        start = time.perf_counter()
        restorer.restore(image)
        seconds += time.perf_counter() - start
    if not found:
        raise ValueError(f"No photograph is larger than a window of {side} pixels.")
    pixels = sum(image.shape[0] * image.shape[1] for image in images)
    windows = [window for plan in plans for window in plan]
    read = sum(window.height * window.width for window in windows)
    largest = max(windows, key=lambda window: window.height * window.width)
    return Windows(
        side=side,
        overlap=overlap,
        windows=len(windows),
        arithmetic=read / pixels,
        seam=float(np.mean([seams.mean for seams in found])),
        seam_high=max(seams.high for seams in found),
        s_per_megapixel=seconds / pixels * 1e6,
        memory_mib=_memory(modules, largest) / 2**20,
    )


def _memory(modules, window) -> int:
    """Temporary bytes of restoring a window."""
    parts = [programs.Part.of(modules[name]) for name in ("encoder", "decoder")]
    images = jax.ShapeDtypeStruct((1, window.height, window.width, 3), "float32")
    program = programs.restore.lower(*parts, images).compile()
    return program.memory_analysis().temp_size_in_bytes
