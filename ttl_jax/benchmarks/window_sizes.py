"""Seams, time and memory for windows of several sizes and overlaps, on photographs.

The columns are
- largest side and overlap of windows, in pixels; number of windows;
- arithmetic, the ratio of the pixels of all windows to those of the photographs;
- seam, the step of brightness between windows in levels of 255, mean along all borders;
- seam_high, its 95 % quantile in the photograph where that is largest;
- seconds per megapixel; memory of the largest window, reported by the compiler.
"""

import itertools
from collections.abc import Sequence

import jax
import numpy as np

from ttl_jax.benchmarks import timing
from ttl_jax.data.sources import source_names
from ttl_jax.data.sources.photographs import Photograph
from ttl_jax.inference import programs
from ttl_jax.inference.restorer import Restorer
from ttl_jax.metrics import agreement
from ttl_jax.weights import trained

TABLES = "benchmark_windows.json"


def run(
    *,
    checkpoint: str | None,
    photographs: str,
    sides: Sequence[int],
    overlaps: Sequence[int],
    output: str | None,
) -> str:
    """Restores photographs with all sides and overlaps.

    Raises:
      ValueError: If the photographs or weights cannot be read, or a side has no seam.
    """
    networks, _ = trained.rebuild(
        checkpoint, Restorer.factories, purpose=Restorer.purpose
    )
    opened = source_names.open_photographs(photographs, "rainy")
    restorers = _make_restorers(networks, opened, sides, overlaps)
    images = [photograph.load() for photograph in opened]
    rows = [
        {"side": side, "overlap": overlap, **_measure(networks, images, restorer)}
        for (side, overlap), restorer in restorers.items()
    ]
    title = f"{len(images)} photographs on one {jax.devices()[0].device_kind}"
    return timing.report({"windows": timing.Table(title, rows)}, output, TABLES)


def _make_restorers(
    networks,
    photographs: Sequence[Photograph],
    sides: Sequence[int],
    overlaps: Sequence[int],
) -> dict[tuple[int, int], Restorer]:
    """Returns restorers by side and overlap; raises if one has no seam in any photograph."""
    restorers = {
        (side, overlap): Restorer(
            **networks, name="network", side=side, overlap=overlap
        )
        for side, overlap in itertools.product(sides, overlaps)
    }
    for (side, overlap), restorer in restorers.items():
        if all(
            len(restorer.plan(each.height, each.width)) == 1 for each in photographs
        ):
            raise ValueError(
                f"No photograph has two windows of {side} pixels that share {overlap}; "
                "name larger photographs, or smaller --sides."
            )
    return restorers


def _measure(networks, images: Sequence[np.ndarray], restorer: Restorer) -> dict:
    found, seconds = [], 0.0
    for image in images:
        windows = restorer.restore_windows(image)
        if seams := agreement.measure_seams(windows, image.shape[:2]):
            found.append(seams)
        seconds += timing.seconds(lambda image=image: restorer.restore(image))
    num_pixels = sum(image.shape[0] * image.shape[1] for image in images)
    windows = [each for image in images for each in restorer.plan(*image.shape[:2])]
    areas = [window.height * window.width for window in windows]
    return {
        "windows": len(windows),
        "arithmetic": sum(areas) / num_pixels,
        "seam": float(np.mean([seams.mean for seams in found])),
        "seam_high": max(seams.high for seams in found),
        "s_per_megapixel": seconds / num_pixels * 1e6,
        "memory_mib": _memory(networks, windows[np.argmax(areas)]) / 2**20,
    }


def _memory(networks, window) -> int:
    """Returns the temporary bytes for restoring a window."""
    parts = [programs.Part.of(networks[name]) for name in ("encoder", "decoder")]
    images = jax.ShapeDtypeStruct((1, window.height, window.width, 3), "float32")
    return timing.compile(programs.restore, *parts, images)[-1]
