"""Temporal consistency of video, with and without the vote of neighbouring frames.

Clips are made by moving a camera over photographs, and rain is rendered anew on each frame.
Only the scores use the clean frames and the motion. The columns are
- PSNR of the rainy, restored and voted frames, in dB;
- least_gain, the smallest gain of a frame by the vote;
- flicker of the clean (the error of interpolation), restored and voted frames, each
  relative to the rainy frames; ratio of the last two;
- vote_s, seconds per frame.
"""

import dataclasses
import time

import numpy as np

from ttl_jax.benchmarks import timing
from ttl_jax.data.rain import renderer
from ttl_jax.data.sources import source_names
from ttl_jax.inference.restorer import Restorer
from ttl_jax.inference.video import check_packages
from ttl_jax.metrics import flicker

TABLES = "benchmark_video.json"
_NUM_FRAMES = 9
# Motion per frame: pixels to the right, pixels down, and factor of magnification.
_PATHS = {"still": (0.0, 0.0, 1.0), "panned": (3.3, 1.2, 1.002)}


def run(
    *,
    checkpoint: str | None,
    photographs: str,
    count: int,
    side: int,
    output: str | None,
) -> str:
    """Measures clips of `count` scenes of `side` pixels, on each path."""
    check_packages()
    restorer = Restorer.from_checkpoint(checkpoint)
    opened = source_names.open_photographs(photographs, "clean")
    images = [photograph.load() for photograph in opened]
    large = [image for image in images if min(image.shape[:2]) >= side + 32]
    if len(large) < count:
        raise ValueError(
            f"{photographs} has {len(large)} photographs of {side + 32} pixels per side or "
            f"more; {count} are needed."
        )
    chosen = large[:: len(large) // count][:count]
    rows = [
        {"scene": number, "path": path, **_measure(image, path, side, number, restorer)}
        for number, image in enumerate(chosen)
        for path in _PATHS
    ]
    title = f"{_NUM_FRAMES} frames of {side} x {side} pixels"
    return timing.report({"video": timing.Table(title, rows)}, output, TABLES)


def _measure(
    photograph: np.ndarray, path: str, side: int, seed: int, restorer: Restorer
) -> dict:
    from ttl_jax.inference.video import temporal

    film, positions = _film(photograph, side, *_PATHS[path])
    clean = np.clip(np.rint(film), 0, 255).astype(np.uint8)
    rng = np.random.default_rng(seed)
    # Only drops that are visible one by one; farther ones are a veil, equal in all frames.
    drawn = renderer.draw_parameters(rng, "light")
    rain = dataclasses.replace(
        drawn,
        rain_rate=25,
        brightness=4,
        veil=0,
        exposure=1 / 120,
        distance=max(4, drawn.near + 1),
    )
    ambient = renderer.ambient_light(photograph)
    rainy = np.stack(
        [renderer.render(frame, rain, rng, ambient=ambient) for frame in clean]
    )
    restored = np.stack([restorer.restore(frame) for frame in rainy])
    began = time.perf_counter()
    frames = map(temporal.Frame, rainy, restored)
    voted = np.stack([result for _, result in temporal.vote(frames)])
    seconds = (time.perf_counter() - began) / len(clean)
    is_inside = np.all((positions >= 0) & (positions <= side - 1), axis=-1)
    flickers = [
        flicker.flicker(video, rainy, positions=positions, still=np.asarray(is_inside))
        for video in (clean, restored, voted)
    ]
    gains = [_psnr(v, c) - _psnr(r, c) for v, r, c in zip(voted, restored, clean)]
    return {
        "rainy": _psnr(rainy, clean),
        "restored": _psnr(restored, clean),
        "voted": _psnr(voted, clean),
        "least_gain": min(gains),
        "clean_flicker": flickers[0],
        "flicker": flickers[1],
        "voted_flicker": flickers[2],
        "ratio": flickers[2] / flickers[1],
        "vote_s": seconds,
    }


def _film(
    photograph: np.ndarray, side: int, right: float, down: float, zoom: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns frames of a camera path, and the positions for `flicker.flicker`."""
    middle = (side - 1) / 2
    axis = np.arange(side, dtype=np.float32) - middle
    place = np.dstack(np.meshgrid(axis, axis))
    times = np.arange(_NUM_FRAMES) - (_NUM_FRAMES - 1) / 2
    centres = np.array(photograph.shape[1::-1]) / 2 + times[:, None] * (right, down)
    scales = zoom ** -times[:, None, None, None]
    in_photograph = centres[:, None, None] + scales * place
    source = np.broadcast_to(
        photograph.astype(np.float32), (_NUM_FRAMES, *photograph.shape)
    )
    frames = flicker.warp(source, in_photograph, order=5)
    following = in_photograph[:-1] - centres[1:, None, None]
    return frames, following / scales[1:] + middle


def _psnr(image: np.ndarray, target: np.ndarray) -> float:
    error = np.square(image.astype(np.float64) - target).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-10)))
