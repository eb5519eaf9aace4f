"""Channel attention with local sums: against its definition, and its properties."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests import random_networks
from tests.models import reference
from tests.models.layers_test import noise
from ttl_jax import models
from ttl_jax.models import attention

WIDTH, HEAD_WIDTH = 8, 4
# Height and width with cell and radius: whole cells, parts of cells, one cell, odd cells,
# a box of all cells along one axis alone.
CASES = [
    ((12, 16), 4, 1),
    ((13, 18), 4, 1),
    ((7, 22), 4, 0),
    ((3, 5), 8, 1),
    ((11, 20), 3, 1),
    ((9, 40), 4, 2),
]


def make_attention(cell, radius, **kwargs):
    make = partial(
        attention.LocalChannelAttention, WIDTH,
        head_width=HEAD_WIDTH, cell=cell, radius=radius,
    )  # fmt: skip
    return random_networks.make(make, **kwargs)


@pytest.fixture(params=["of CPUs", "of GPUs"])
def form(request, monkeypatch):
    """Both forms of the computation, on the CPU."""
    if request.param == "of GPUs":
        monkeypatch.setattr(attention, "_with_cpu_form", lambda function, _: function)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize(("size", "cell", "radius"), CASES)
def test_local_attention_matches_the_reference(size, cell, radius):
    module, params = make_attention(cell, radius)
    x = noise(2, *size, WIDTH)
    expected = reference.local_channel_attention(
        np.float64(x), params, cell=cell, radius=radius
    )
    np.testing.assert_allclose(jax.jit(module)(x), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("size", [(10, 12), (4, 12)])
def test_sums_are_those_of_the_image_where_the_box_covers_it(size):
    module, _ = make_attention(4, 1)
    make = partial(attention.ChannelAttention, WIDTH, head_width=HEAD_WIDTH)
    whole, _ = random_networks.make(make)
    x = noise(2, *size, WIDTH)
    np.testing.assert_allclose(
        jax.jit(module)(x), jax.jit(whole)(x), rtol=1e-4, atol=1e-5
    )


def test_maps_are_continuous_across_cells():
    """The weights of neighbouring pixels differ by at most one pixel over a cell."""
    height, cell = 50, 8
    weights = attention._weights_of_rows(height, cell)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    assert np.abs(np.diff(weights, axis=0)).max() <= 1 / cell + 1e-6
    # A pixel beyond the last centre has the last cell's map alone.
    np.testing.assert_array_equal(weights[0], np.eye(7)[0])


def test_output_does_not_step_where_cells_meet():
    """Constant values and changing maps: the output changes by little from pixel to pixel."""
    cell, maps = 8, noise(1, 4, 5, 2, 4, 4)
    rows = np.einsum("iy,nyxhde->nixhde", attention._weights_of_rows(32, cell), maps)
    apply = jax.jit(attention._apply_maps, static_argnums=2)
    out = apply(rows, jnp.ones((1, 32, 40, 8)), cell)
    # Of two maps' difference, per pixel.
    largest = np.abs(maps.sum(-1)).max() * 2 / cell
    for axis in (1, 2):
        assert np.abs(np.diff(out, axis=axis)).max() <= largest + 1e-5


@pytest.mark.usefixtures("form")
def test_gradients_match_finite_differences():
    module, _ = make_attention(3, 1)
    graph, state = nnx.split(module)

    @jax.jit
    def loss(state, x):
        return (nnx.merge(graph, state)(x) ** 2).sum()

    arguments = state, noise(1, 7, 11, WIDTH)
    jax.test_util.check_grads(loss, arguments, order=1, modes="rev", rtol=2e-2)


def test_bfloat16_is_close_to_float32():
    x = noise(1, 13, 18, WIDTH)
    expected = jax.jit(make_attention(4, 1)[0])(x)
    low, _ = make_attention(4, 1, dtype=jnp.bfloat16)
    out = jax.jit(low)(x.astype(jnp.bfloat16))
    assert out.dtype == jnp.bfloat16
    assert np.abs(np.float32(out) - expected).max() < 0.05 * np.abs(expected).max()


def test_windows_on_the_grid_have_the_cells_of_the_whole():
    """Far from the border of a window, features are exactly those of the whole image."""
    make = partial(
        models.make_encoder, width=8, num_blocks=1, head_width=4, attention_cell=8,
        attention_radius=1, local_kernel=3, spatial_attention_kernel=3,
    )  # fmt: skip
    encoder, _ = random_networks.make(make)
    assert encoder.grid == 8
    features = jax.jit(encoder)
    image = np.random.default_rng(0).uniform(size=(1, 96, 112, 3)).astype(np.float32)
    whole, window = features(image), features(image[:, 8:88, 16:96])
    # Pixels between the centres of cells 4 and 5: their maps sum over the cells 3 to 6.
    inner, same = slice(18, 22), (slice(22, 26), slice(26, 30))
    np.testing.assert_allclose(
        window[:, inner, inner], whole[:, *same], rtol=1e-4, atol=1e-5
    )
    shifted = features(image[:, 4:84, 16:96])  # off the grid
    assert np.abs(shifted[:, 20:24, inner] - whole[:, *same]).max() > 1e-3


def test_encoder_without_local_sums_has_no_grid():
    make = partial(models.make_encoder, num_blocks=1)
    assert random_networks.make(make)[0].grid is None
    windows, _ = random_networks.make(partial(make, global_branch="window", window=8))
    assert windows.grid == 16


@pytest.mark.parametrize(
    "fields", [{"attention_cell": 33}, {"attention_cell": 32, "attention_radius": -1}]
)
def test_impossible_cells_are_rejected(fields):
    with pytest.raises(ValueError, match="attention_cell"):
        models.make_encoder(num_blocks=1, **fields, rngs=nnx.Rngs(0))
