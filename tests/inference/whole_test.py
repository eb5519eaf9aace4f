"""Whole images, padded to a few sizes."""

import jax
import numpy as np
import pytest

from tests.inference import tiny_networks
from ttl_jax.inference import whole


@pytest.mark.parametrize(
    ("side", "padded"),
    [(1, 128), (128, 128), (129, 256), (321, 384), (1000, 1024), (1080, 1280),
     (1920, 2048), (2049, 2560), (4000, 4096)],
)  # fmt: skip
def test_sides_are_padded_to_a_few(side, padded):
    assert whole.padded_side(side) == padded


def test_from_512_pixels_on_padding_is_below_a_quarter_and_padded_sides_stay():
    sides = np.arange(512, 9000)
    padded = np.array([whole.padded_side(int(side)) for side in sides])
    assert (padded >= sides).all() and (padded < 1.25 * sides).all()
    assert all(whole.padded_side(int(side)) == side for side in set(padded))


def test_sizes_of_one_padded_size_share_a_program_and_lose_nothing(monkeypatch):
    encoder, decoder = tiny_networks.make()
    network = whole.Whole(encoder, decoder)
    monkeypatch.setattr(whole, "_programs", {})
    rng = np.random.default_rng(0)
    for size in [(128, 93), (101, 128), (1, 3)]:
        image = rng.random((*size, 3), np.float32)
        expected = tiny_networks.restore(encoder, decoder, image)
        np.testing.assert_allclose(network.restore(image), expected, atol=1e-5)
    assert len(whole._programs) == 1


class FullDevice:
    """A program that finds no memory."""

    def memory_analysis(self):
        return None

    def __call__(self, *_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")


def test_a_device_that_runs_out_of_memory_says_that_it_does_not_fit(monkeypatch):
    monkeypatch.setattr(whole, "_compiled", lambda *_: FullDevice())
    network = whole.Whole(*tiny_networks.make())
    with pytest.raises(whole.DoesNotFit, match="90 x 70 pixels do not fit"):
        network.restore(np.zeros((70, 90, 3), np.uint8))
