"""An image with padding around it is restored as it is without; so are its parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.models.layers_test import randomized
from ttl_jax import models
from ttl_jax.models.region import Region, clear_padding

SIZES = {"width": 8, "num_blocks": 2, "head_width": 4, "local_kernel": 5, "window": 4}


def make_networks(key, *, stem_stride=2, global_branch="channel"):
    sizes = SIZES | {"stem_stride": stem_stride, "global_branch": global_branch}
    encoder = models.make_encoder(**sizes, rngs=nnx.Rngs(0))
    decoder = models.make_image_decoder(
        width=8, pools=(8, 4), stem_stride=stem_stride, rngs=nnx.Rngs(1)
    )
    classifier = models.make_classifier(width=8, pools=(8, 4), rngs=nnx.Rngs(2))
    keys = jax.random.split(key, 3)
    made = zip((encoder, decoder, classifier), keys)
    return [randomized(module, k)[0] for module, k in made]


def put_into(image, size, place):
    """The image continued by its last pixels, with garbage around that."""
    (h, w), (top, left) = image.shape[1:3], place
    garbage = jnp.full((1, *size, 3), 3.0).at[:, ::2].set(jnp.nan)
    edge = jnp.pad(image, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    padded = garbage.at[:, top : top + h + 1, left : left + w + 1].set(edge)
    return padded, Region(top, left, top + h, left + w)


@pytest.mark.parametrize(
    ("stem_stride", "global_branch", "size", "place"),
    [
        (2, "channel", (48, 64), (0, 0)),
        (2, "channel", (64, 64), (16, 16)),
        (1, "channel", (64, 64), (16, 8)),
        (2, "window", (64, 64), (16, 16)),
        (2, "dense", (48, 64), (0, 0)),
    ],
)
def test_padding_changes_nothing(key, stem_stride, global_branch, size, place):
    encoder, decoder, classifier = make_networks(
        key, stem_stride=stem_stride, global_branch=global_branch
    )
    image = jax.random.uniform(key, (1, 29, 41, 3))
    padded, region = put_into(image, size, place)

    @jax.jit
    def restore(image, region=None):
        features = encoder(image, region)
        coarse = region and region.coarse((stem_stride, stem_stride))
        return decoder(features, image, region), classifier(features, coarse)

    expected, score = restore(image)
    found, score_found = restore(padded, region)
    top, left = place
    found = found[:, top : top + 29, left : left + 41]
    assert np.abs(expected - image).max() > 0.1
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)
    np.testing.assert_allclose(score_found, score, atol=1e-5)


def test_region_says_which_pixels_exist():
    region = Region(2, 4, 7, 9)
    mask = np.zeros((8, 12), bool)
    mask[2:7, 4:9] = True
    np.testing.assert_array_equal(region.mask(8, 12)[0, :, :, 0], mask)
    coarse = np.zeros((4, 6), bool)
    coarse[1:4, 2:5] = True  # a coarse pixel exists where one of its pixels does
    np.testing.assert_array_equal(region.coarse((2, 2)).mask(4, 6)[0, :, :, 0], coarse)


def test_without_a_region_nothing_is_cleared(key):
    x = jax.random.normal(key, (1, 3, 4, 2))
    assert clear_padding(x, None) is x


def test_sums_of_tiles_add_up_to_those_of_the_whole(key):
    encoder, *_ = make_networks(key)
    block = encoder.blocks[0]
    x = jax.random.normal(key, (1, 24, 36, 8))
    margin = 4
    around = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    total = jax.tree.map(jnp.zeros_like, block.sums(x))
    for top in range(0, 24, 12):
        for left in range(0, 36, 12):
            tile = around[:, top : top + 20, left : left + 20]
            region = Region(
                *(margin + edge for edge in (-top, -left, 24 - top, 36 - left))
            )
            part = block.sums(tile, region, margin)
            total = jax.tree.map(jnp.add, total, part)
    jax.tree.map(
        lambda found, whole: np.testing.assert_allclose(found, whole, rtol=1e-4),
        total,
        block.sums(x),
    )


@pytest.mark.parametrize("module", ["block", "window", "decoder"])
def test_nothing_beyond_its_reach_has_an_influence(key, module):
    branch = "window" if module == "window" else "channel"
    encoder, decoder, _ = make_networks(key, stem_stride=1, global_branch=branch)
    x = jax.random.normal(key, (1, 64, 64, 8))
    if module == "decoder":
        image = jnp.zeros((1, 64, 64, 3))
        apply, reach = lambda x: decoder(x, image), decoder.margin
    else:
        block = encoder.blocks[1]
        sums, reach = block.sums(x), block.reach
        apply = lambda x: block(x, sums=sums)
    # Not a constant: norms over the channels would take it out.
    other = jax.random.normal(jax.random.key(1), x.shape)
    changed = x.at[:, : 40 - reach].set(other[:, : 40 - reach])
    before, after = (jax.jit(apply)(v)[:, 40:] for v in (x, changed))
    np.testing.assert_allclose(after, before, atol=1e-5)
    within = x.at[:, 40 - reach : 40].set(other[:, 40 - reach : 40])
    assert np.abs(jax.jit(apply)(within)[:, 40:] - before).max() > 1e-3
