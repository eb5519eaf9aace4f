"""Whole networks: values, sizes, options, and budgets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from configs import common
from tests.models import reference
from tests.models.layers_test import randomized
from ttl_jax import models
from ttl_jax.models import complexity
from ttl_jax.stages import networks
from ttl_jax.weights import fingerprints, flat_params

SMALL = {"width": 16, "num_blocks": 2, "head_width": 8, "local_kernel": 3}


def make_networks(config):
    """Encoder and D_dr of a config, as the stages build them."""
    encoder = networks.encoder(config)
    decoder = networks.image_decoder(config, config.decoder)
    return encoder(rngs=nnx.Rngs(0)), decoder(rngs=nnx.Rngs(1))


# The practical presets' form and the paper's.
FORMS = [
    {"stem_stride": 2, "final_norm": True, "skip_width": 16, "residual": True},
    {"stem_stride": 1, "final_norm": False, "skip_width": 0, "residual": False},
]


@pytest.mark.parametrize("form", FORMS)
def test_encoder_matches_numpy(key, form):
    options = {name: form[name] for name in ("stem_stride", "final_norm")}
    encoder = models.make_encoder(**SMALL, **options, rngs=nnx.Rngs(0))
    encoder, params = randomized(encoder, key)
    image = jax.random.uniform(key, (2, 7, 5, 3))
    expected = reference.encoder(
        np.asarray(image, np.float64), params, num_blocks=2, **options
    )
    np.testing.assert_allclose(jax.jit(encoder)(image), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_image_decoder_matches_numpy(key, form):
    options = {n: form[n] for n in ("stem_stride", "skip_width", "residual")}
    decoder = models.make_image_decoder(
        width=8, pools=(4, 2), **options, rngs=nnx.Rngs(0)
    )
    decoder, params = randomized(decoder, key)
    image = jax.random.uniform(key, (2, 7, 5, 3))
    stride = form["stem_stride"]
    features = jax.random.normal(key, (2, -(-7 // stride), -(-5 // stride), 8))
    expected = reference.image_decoder(
        np.asarray(features, np.float64),
        np.asarray(image, np.float64),
        params,
        pools=(4, 2),
        stem_stride=stride,
        skip=form["skip_width"] > 0,
        residual=form["residual"],
    )
    np.testing.assert_allclose(
        jax.jit(decoder)(features, image), expected, rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("form", FORMS)
def test_gradients_of_a_whole_network_match_finite_differences(key, form):
    encoder = models.make_encoder(
        **{**SMALL, "num_blocks": 1},
        stem_stride=form["stem_stride"],
        final_norm=form["final_norm"],
        rngs=nnx.Rngs(0),
    )
    decoder = models.make_image_decoder(
        width=16,
        pools=(4, 2),
        stem_stride=form["stem_stride"],
        skip_width=form["skip_width"],
        residual=form["residual"],
        rngs=nnx.Rngs(1),
    )
    classifier = models.make_classifier(width=16, pools=(4, 2), rngs=nnx.Rngs(2))
    graphs, params = [], []
    for module in (encoder, decoder, classifier):
        _, flat = randomized(module, key)
        graphs.append(flat_params.split_module(module)[0])
        params.append(flat)
    image = np.asarray(jax.random.uniform(key, (1, 6, 5, 3)), np.float64)
    with jax.enable_x64(True):

        @jax.jit
        def apply(params, image):
            encoder, decoder, classifier = map(flat_params.merge_module, graphs, params)
            features = encoder(image)
            return decoder(features, image), classifier(features)

        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        check_grads(
            apply,
            (params, jnp.asarray(image)),
            order=1,
            modes=["rev"],
            rtol=1e-4,
            atol=1e-4,
        )


def test_classifier_matches_numpy(key):
    classifier = models.make_classifier(width=4, pools=(4, 2), rngs=nnx.Rngs(0))
    classifier, params = randomized(classifier, key)
    features = jax.random.normal(key, (3, 7, 5, 4))
    expected = reference.classifier(
        np.asarray(features, np.float64), params, pools=(4, 2)
    )
    np.testing.assert_allclose(classifier(features), expected, rtol=1e-4, atol=1e-4)


def test_alpha_zero_leaves_exactly_the_local_branch(key):
    block = models.make_encoder(**SMALL, rngs=nnx.Rngs(0)).blocks[0]
    block.alpha[...] = jnp.zeros(())
    x = jax.random.normal(key, (1, 6, 6, 16))
    y = x + block.beta[...] * block.local_branch(block.norm(x))
    expected = y + block.feed_forward(block.feed_forward_norm(y))
    np.testing.assert_array_equal(block(x), expected)


def test_beta_zero_leaves_exactly_the_global_branch(key):
    block = models.make_encoder(**SMALL, rngs=nnx.Rngs(0)).blocks[0]
    block.beta[...] = jnp.zeros(())
    x = jax.random.normal(key, (1, 6, 6, 16))
    y = x + block.alpha[...] * block.global_branch(block.norm(x))
    expected = y + block.feed_forward(block.feed_forward_norm(y))
    np.testing.assert_array_equal(block(x), expected)


def test_alpha_and_beta_receive_gradients_per_channel(key):
    encoder = models.make_encoder(**SMALL, per_channel_scale=True, rngs=nnx.Rngs(0))
    graph, params = flat_params.split_module(encoder)
    image = jax.random.uniform(key, (1, 8, 8, 3))

    def total(params):
        return jnp.sum(jnp.square(flat_params.merge_module(graph, params)(image)) ** 2)

    grads = jax.jit(jax.grad(total))(params)
    for name in ("blocks.0.alpha", "blocks.1.beta"):
        assert params[name].shape == (16,)
        assert np.all(np.asarray(grads[name]) != 0)


@pytest.mark.parametrize("global_branch", ["channel", "window", "dense"])
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (37, 41)])
def test_any_size_is_restored_to_its_own_size(key, global_branch, size):
    kwargs = {**SMALL, "num_blocks": 1}
    image = jax.random.uniform(key, (1, *size, 3))
    for stem_stride in (1, 2):
        encoder = models.make_encoder(
            **kwargs,
            stem_stride=stem_stride,
            global_branch=global_branch,
            rngs=nnx.Rngs(0),
        )
        decoder = models.make_image_decoder(
            width=16, stem_stride=stem_stride, residual=False, rngs=nnx.Rngs(1)
        )
        restored = jax.jit(lambda x, e=encoder, d=decoder: d(e(x), x))(image)
        assert restored.shape == image.shape
        assert np.isfinite(restored).all()


def test_residual_decoder_starts_as_the_identity(key):
    encoder, decoder = make_networks(common.get_config("smoke"))
    image = jax.random.uniform(key, (1, 9, 12, 3))
    np.testing.assert_array_equal(decoder(encoder(image), image), image)


def test_rematerialisation_changes_neither_values_nor_gradients(key):
    image = jax.random.uniform(key, (1, 16, 16, 3))
    plain = models.make_encoder(**SMALL, rngs=nnx.Rngs(0))
    remat = models.make_encoder(**SMALL, remat=True, rngs=nnx.Rngs(0))

    def gradients(encoder):
        graph, params = flat_params.split_module(encoder)
        return jax.jit(
            jax.value_and_grad(
                lambda p: jnp.sum(flat_params.merge_module(graph, p)(image) ** 3)
            )
        )(params)

    def assert_close(a, b):  # to the scale of the leaf: sums of large terms cancel
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())

    jax.tree.map(assert_close, gradients(plain), gradients(remat))


def test_rematerialisation_keeps_fewer_activations():
    def residual_bytes(remat):
        encoder = models.make_encoder(
            width=16, num_blocks=4, remat=remat, rngs=nnx.Rngs(0)
        )
        graph, params = flat_params.split_module(encoder)
        image = jnp.zeros((1, 64, 64, 3))

        def apply(params):
            return flat_params.merge_module(graph, params)(image)

        saved = jax.eval_shape(lambda p: jax.vjp(apply, p)[1], params)
        return sum(leaf.size * 4 for leaf in jax.tree.leaves(saved))

    assert residual_bytes(True) < residual_bytes(False) / 5


def test_memory_of_restoring_does_not_grow_with_the_number_of_blocks():
    def temporary_bytes(num_blocks):
        kwargs = {**SMALL, "num_blocks": num_blocks}
        encoder = models.make_encoder(**kwargs, rngs=nnx.Rngs(0))
        graph, params = flat_params.split_module(encoder)
        image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
        apply = jax.jit(lambda p, x: flat_params.merge_module(graph, p)(x))
        return apply.lower(params, image).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(6) < 1.3 * temporary_bytes(2)


def test_multiply_adds_of_known_products():
    def fun(x, kernel, a, b):
        def body(total, _):
            return total + a @ b, None  # 3 * 4 * 5, twice

        total, _ = jax.lax.scan(body, jnp.zeros((3, 5)), length=2)
        y = jax.lax.conv_general_dilated(  # 6 * 6 outputs of 2 channels from 9 * 3
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return total.sum() + y.sum()

    shapes = (1, 6, 6, 3), (3, 3, 3, 2), (3, 4), (4, 5)
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    assert complexity.multiply_adds(fun, *arguments) == 2 * 60 + 36 * 2 * 27


@pytest.mark.parametrize(
    ("preset", "max_params", "max_giga_multiply_adds"),
    [
        # The budgets of `base` and `small`; the other presets' sizes as README has them.
        ("tiny", 0.2e6, 3.6),
        ("small", 0.4e6, 7.0),
        ("base", 1.4e6, 24.0),
        ("paper", 0.4e6, 25.0),
    ],
)
def test_preset_stays_within_its_budget(preset, max_params, max_giga_multiply_adds):
    encoder, decoder = make_networks(common.get_config(preset))
    image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    count = complexity.multiply_adds(lambda x: decoder(encoder(x), x), image)
    params = complexity.num_params(encoder) + complexity.num_params(decoder)
    assert 0.8 * max_params < params <= max_params
    assert 0.8 * max_giga_multiply_adds < count / 1e9 <= max_giga_multiply_adds


@pytest.mark.parametrize("per_channel_scale", [False, True])
def test_params_are_float32_and_not_weakly_typed(per_channel_scale):
    # An update returns them strongly typed, so the train step would compile twice.
    config = common.get_config("smoke")
    config.encoder.per_channel_scale = per_channel_scale
    for network in make_networks(config):
        _, params = flat_params.split_module(network)
        for name, value in params.items():
            assert (value.dtype, value.weak_type) == (jnp.float32, False), name


def test_networks_of_a_preset_are_those_of_its_config():
    config = common.get_config("smoke")
    for seed, (network, expected) in enumerate(
        zip((models.AGLFEncoder, models.ImageDecoder), make_networks(config))
    ):
        ours = network.from_preset("smoke", rngs=nnx.Rngs(seed))
        assert fingerprints.digest(flat_params.split_module(ours)[1]) == (
            fingerprints.digest(flat_params.split_module(expected)[1])
        )
    classifier = models.RainClassifier.from_preset("smoke", rngs=nnx.Rngs(0))
    assert classifier(jnp.zeros((2, 8, 8, 16))).shape == (2,)
