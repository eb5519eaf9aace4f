"""Bytes that must move through memory, against counts by hand and by XLA."""

import functools

import jax
import pytest

from configs import scratch
from ttl_jax import models
from ttl_jax.benchmarks import traffic
from ttl_jax.stages.stage import make_stage
from ttl_jax.weights import flat_params

# A block of 2 channels, expansion 2, ratio 1, by hand: numbers read + written.
GLOBAL = [
    2 + 6,
    6 + 6,
    4 + 0,
    2 + 2,
    2 + 2,
]  # q k v, depthwise, products, values, project
LOCAL = [2 + 2, 2 + 4, 4 + 2 + 2 + 2]  # depthwise, expand, project with two summands
FEED_FORWARD = [2 + 4, 4 + 2 + 2]  # expand to gate and value, project with one summand
FORWARD = GLOBAL + LOCAL + FEED_FORWARD
# The same, plus the gradients of the inputs.
BACKWARD = sum(FORWARD) + (2 + 6 + 4 + 2 + 2) + (2 + 2 + 4) + (2 + 4)
STEM = [3 + 2, 2 + 2, 2 + 1, 3 + 2]  # conv, mean and maximum, conv of them, product
STEM_BACKWARD = sum(STEM) + 2 + 2 + 3  # the image needs no gradient

ENCODER = {
    "factory": "make_encoder",
    "width": 2,
    "num_blocks": 1,
    "stem_stride": 1,
    "final_norm": False,
    "global_branch": "channel",
    "dense_pool": 4,
    "local_expansion": 2,
    "feed_forward_ratio": 1,
    "remat": False,
}


def encoder(image_side=64, **changes):
    return traffic.describe({**ENCODER, **changes}, 1, image_side)


def test_encoder_matches_counts_by_hand():
    assert encoder().inference() == sum(STEM) + sum(FORWARD)
    update = sum(STEM) + sum(FORWARD) + STEM_BACKWARD + BACKWARD
    assert encoder().update() == update
    # All but the block's last result is computed again.
    assert encoder(remat=True).update() == update + sum(FORWARD[:-1])
    assert encoder(final_norm=True).inference() == encoder().inference() + 2 + 2
    blocks = encoder(num_blocks=3).update() - encoder(num_blocks=1).update()
    assert blocks == 2 * (sum(FORWARD) + BACKWARD)


def test_local_sums_move_maps_for_each_row_of_pixels():
    local = encoder(attention_cell=8, head_width=2)
    # A map of 2 x 2 numbers for each of 8 pixels of a row, written and read twice; and a
    # second product of 2 values, read, written, and read to be mixed.
    more = 3 * (2 * 2) / 8 + 3 * 2
    assert local.inference() - encoder().inference() == more
    # A box of 3 cells is the whole image.
    assert encoder(24, attention_cell=8, head_width=2) == encoder(24)


def test_decoders_match_counts_by_hand():
    description = {
        "factory": "make_image_decoder",
        "width": 8,
        "pools": (4, 2),
        "pool_width": 1,
        "skip_width": 2,
        "local_expansion": 2,
    }
    # The pools leave 1/16 + 1/4 of the features' pixels, a quarter of the image's.
    coarse = 1 / 16 + 1 / 4
    spp = [8 + 8 * coarse, 8 * coarse + coarse, 8 + coarse + 8]
    full = [3 + 2, 4 + 4, 4 + 8, 8 + 4 + 4, 4 + 3]  # skip, local block, to image
    decoder = traffic.describe(description, 2, 64)
    assert decoder.inference() == sum(spp) / 4 + sum(full)
    # With frozen weights only gradients flow back, and none to the image.
    assert decoder.passed_through() == 2 * (sum(spp) / 4 + sum(full)) - (3 + 2)
    description = {"width": 8, "pools": (4, 2), "pool_width": 1}
    classifier = traffic.describe({"factory": "make_classifier", **description}, 2, 64)
    assert classifier.inference() == (sum(spp) + 8) / 4


def test_the_papers_network_moves_80_kilobytes_per_pixel_and_update():
    config = scratch.get_config("paper")
    config.encoder.remat = False
    stage = make_stage(config)
    numbers = sum(
        traffic.describe(stage.describe_module(name), 1, 256).update()
        for name in stage.modules
    )
    assert 2 * numbers == pytest.approx(80_000, rel=0.1)  # in bfloat16


@pytest.mark.parametrize("cell", [0, 8])
def test_a_compiled_program_moves_more_bytes_than_the_floor(cell):
    arguments = {**ENCODER, "width": 16, "attention_cell": cell}
    make = functools.partial(models.FACTORIES[arguments.pop("factory")], **arguments)
    graph, params = flat_params.split_factory(make)
    side = 32  # one strip of the depthwise loops, whose bodies XLA counts once
    image = jax.ShapeDtypeStruct((1, side, side, 3), "float32")
    program = jax.jit(lambda p, x: flat_params.merge_module(graph, p)(x)).lower(
        params, image
    )
    moved = program.compile().cost_analysis()["bytes accessed"]
    description = {**arguments, "factory": "make_encoder"}
    floor = traffic.describe(description, 1, side).inference()
    assert floor * side**2 * 4 < moved < 20 * floor * side**2 * 4
