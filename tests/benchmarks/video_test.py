"""The camera path of the benchmark of video."""

import cv2
import numpy as np
import pytest

from ttl_jax.benchmarks import video
from ttl_jax.inference.video import temporal


@pytest.mark.parametrize("path", video._PATHS)
def test_positions_lead_from_each_frame_to_the_next(path):
    noise = np.random.default_rng(0).uniform(0, 255, (160, 200, 3)).astype(np.float32)
    photograph = 8 * cv2.GaussianBlur(noise, (0, 0), 7) - 900
    frames, positions = video._film(photograph, 96, *video._PATHS[path])
    inner = (slice(8, -8), slice(8, -8))
    for frame, following, position in zip(frames, frames[1:], positions):
        aligned = temporal.warp(following, position.astype(np.float32))
        assert np.abs(aligned - frame)[inner].max() < 1
    if path == "panned":
        assert np.abs(frames[0] - frames[1])[inner].max() > 10
