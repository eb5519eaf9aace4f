"""Tiles together are the whole image."""

import os

import numpy as np
import pytest

from tests.inference import tiny_networks
from ttl_jax.inference import memory, tiles

FORMS = [
    {"stem_stride": 2},
    {"stem_stride": 1, "final_norm": False},
    {"stem_stride": 2, "global_branch": "window"},
]


def random_image(*size):
    """Dark on the left, bright on the right: tiles differ from each other."""
    noise = np.random.default_rng(0).random((*size, 3), np.float32)
    return noise * np.linspace(0.1, 1, size[1], dtype=np.float32)[:, None]


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_exact_tiles_are_the_whole_image(form):
    encoder, decoder = tiny_networks.make(**form)
    image = random_image(71, 101)
    expected = tiny_networks.restore(encoder, decoder, image)
    assert np.abs(expected - image).max() > 0.1
    restored = tiles.Tiles(encoder, decoder, side=32).restore_exactly(image)
    np.testing.assert_allclose(restored, expected, atol=1e-5)


def test_tiles_of_their_own_would_not_be():
    """The images above tell tiles that know the whole image's sums from those without."""
    encoder, decoder = tiny_networks.make()
    image = random_image(64, 96)
    whole = tiny_networks.restore(encoder, decoder, image)
    alone = tiny_networks.restore(encoder, decoder, image[:, :48])
    assert np.abs(whole[:, :16] - alone[:, :16]).max() > 1e-3


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_tiles_with_the_sums_of_the_whole_image_are_the_whole_image(form, monkeypatch):
    encoder, decoder = tiny_networks.make(**form)
    image = random_image(71, 101)
    expected = tiny_networks.restore(encoder, decoder, image)
    monkeypatch.setattr(tiles, "_sample", lambda image: image[None])
    restored = tiles.Tiles(encoder, decoder, side=32).restore_frozen(image)
    np.testing.assert_allclose(restored, expected, atol=1e-5)


def test_frozen_sums_come_from_crops_all_over_the_image():
    image = np.zeros((1000, 1500, 3), np.uint8)
    image[..., 0] = np.arange(1000)[:, None] // 4
    image[..., 1] = np.arange(1500) // 6
    crops = tiles._sample(image)
    assert crops.shape == (36, 128, 128, 3)
    assert (crops[0, 0, 0, :2] * 255).round().tolist() == [0, 0]
    assert (crops[-1, -1, -1, :2] * 255).round().tolist() == [999 // 4, 1499 // 6]
    centres = {tuple((crop[64, 64, :2] * 255).astype(int) // 40) for crop in crops}
    assert len(centres) == 36
    assert tiles._sample(image[:100, :90]).shape == (36, 100, 90, 3)


def test_scratch_files_have_no_name_and_leave_room_for_others(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "scratch_folder", lambda: tmp_path)
    with tiles._scratch(30, 20, 8) as scratch:
        assert scratch.shape == (30, 20, 8) and not list(tmp_path.iterdir())
    disk = os.statvfs(tmp_path)
    rows = disk.f_bavail * disk.f_frsize // 4000
    refused = pytest.raises(OSError, match=f"{tmp_path} has no room for twice")
    with refused, tiles._scratch(rows, 1000, 1):
        pass
