"""Whole networks: values, sizes, options, and budgets."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from configs import common
from tests import pictures, random_networks
from tests.models import reference
from tests.models.layers_test import noise
from ttl_jax import models
from ttl_jax.models import aglf_vit, complexity
from ttl_jax.stages import networks
from ttl_jax.weights import flat_params

SMALL = {
    "width": 16,
    "num_blocks": 2,
    "head_width": 8,
    "local_kernel": 3,
    "spatial_attention_kernel": 3,
}


def make_encoder(**fields):
    """The factory of a small encoder with changed fields."""
    return partial(models.make_encoder, **SMALL | fields)


def make_decoder(**fields):
    """The factory of an image decoder that fits the small encoder."""
    small = {"width": 16, "pools": (4, 2), "local_kernel": 3}
    return partial(models.make_image_decoder, **small | fields)


# The practical presets' form and the paper's: fields of the encoder and the decoder.
FORMS = [
    (
        {"stem_stride": 2, "final_norm": True},
        {"stem_stride": 2, "skip_width": 16, "residual": True},
    ),
    (
        {"stem_stride": 1, "final_norm": False},
        {"stem_stride": 1, "skip_width": 0, "residual": False},
    ),
]


@pytest.mark.parametrize("form", FORMS)
def test_encoder_matches_numpy(form):
    encoder, params = random_networks.make(make_encoder(**form[0]))
    image = pictures.uniform(2, 7, 5, 3)
    expected = reference.encoder(np.float64(image), params, num_blocks=2, **form[0])
    np.testing.assert_allclose(jax.jit(encoder)(image), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_image_decoder_matches_numpy(form):
    decoder, params = random_networks.make(make_decoder(**form[1]))
    image, stride = pictures.uniform(2, 7, 5, 3), form[1]["stem_stride"]
    features = noise(2, -(-7 // stride), -(-5 // stride), 16)
    expected = reference.image_decoder(
        np.float64(features),
        np.float64(image),
        params,
        pools=(4, 2),
        stem_stride=stride,
        skip=form[1]["skip_width"] > 0,
        residual=form[1]["residual"],
    )
    np.testing.assert_allclose(
        jax.jit(decoder)(features, image), expected, rtol=1e-3, atol=1e-3
    )


def test_gradients_of_a_whole_network_match_finite_differences():
    encoder_fields, decoder_fields = FORMS[0]  # the other form only leaves layers out
    factories = (
        make_encoder(num_blocks=1, per_channel_scale=True, **encoder_fields),
        make_decoder(**decoder_fields),
        partial(models.make_classifier, width=16, pools=(4, 2)),
    )
    params = [random_networks.make(make)[1] for make in factories]
    graphs = [flat_params.split_factory(make)[0] for make in factories]
    with jax.enable_x64(True):

        @jax.jit
        def apply(params, image):
            encoder, decoder, classifier = map(flat_params.merge_module, graphs, params)
            features = encoder(image)
            return decoder(features, image), classifier(features)

        arguments = jax.tree.map(
            jnp.asarray, (params, np.float64(pictures.uniform(1, 6, 5, 3)))
        )
        check_grads(apply, arguments, order=1, modes=["rev"], rtol=1e-4, atol=1e-4)


def test_classifier_matches_numpy():
    make = partial(models.make_classifier, width=4, pools=(4, 2))
    classifier, params = random_networks.make(make)
    features = noise(3, 7, 5, 4)
    expected = reference.classifier(np.float64(features), params, pools=(4, 2))
    found = jax.jit(classifier)(features)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("without", "left"), [("alpha", "beta"), ("beta", "alpha")])
def test_a_branch_of_weight_zero_leaves_exactly_the_other(without, left):
    encoder, _ = random_networks.make(make_encoder(num_blocks=1))
    block = encoder.blocks[0]
    getattr(block, without)[...] = jnp.zeros(())
    branch = {"alpha": block.global_branch, "beta": block.local_branch}[left]

    @jax.jit
    def both(x):
        y = x + getattr(block, left)[...] * branch(block.norm(x))
        return block(x), y + block.feed_forward(block.feed_forward_norm(y))

    np.testing.assert_array_equal(*both(noise(1, 6, 6, 16)))


@pytest.mark.parametrize(
    ("global_branch", "size", "stem_stride"),
    [
        ("channel", (1, 1), 2),
        ("channel", (3, 50), 1),
        ("window", (37, 41), 2),
        ("dense", (3, 50), 1),
    ],
)
def test_any_size_is_restored_to_its_own_size(global_branch, size, stem_stride):
    image, stride = pictures.uniform(1, *size, 3), {"stem_stride": stem_stride}
    fields = {"num_blocks": 1, "global_branch": global_branch}
    encoder, _ = random_networks.make(make_encoder(**stride, **fields))
    make = make_decoder(**stride, pools=(32, 16, 8, 4), residual=False)
    decoder, _ = random_networks.make(make)
    restored = jax.jit(lambda x: decoder(encoder(x), x))(image)
    assert restored.shape == image.shape
    assert np.isfinite(restored).all()


def test_residual_decoder_starts_as_the_identity():
    decoder = make_decoder()(rngs=nnx.Rngs(0))
    image = pictures.uniform(1, 9, 12, 3)
    np.testing.assert_array_equal(jax.jit(decoder)(noise(1, 5, 6, 16), image), image)


def test_rematerialisation_changes_neither_values_nor_gradients():
    image = pictures.uniform(1, 16, 16, 3)

    def gradients(remat):
        encoder, _ = random_networks.make(make_encoder(num_blocks=1, remat=remat))
        graph, params = flat_params.split_module(encoder)
        return jax.jit(
            jax.value_and_grad(
                lambda p: jnp.sum(flat_params.merge_module(graph, p)(image) ** 3)
            )
        )(params)

    def assert_close(a, b):  # to the scale of the leaf: sums of large terms cancel
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())

    jax.tree.map(assert_close, gradients(False), gradients(True))


def test_rematerialisation_keeps_fewer_activations():
    def residual_bytes(remat):
        make = make_encoder(num_blocks=4, remat=remat)
        graph, params = flat_params.split_factory(make)
        image = np.zeros((1, 64, 64, 3), np.float32)

        def apply(params):
            return flat_params.merge_module(graph, params)(image)

        saved = jax.eval_shape(lambda p: jax.vjp(apply, p)[1], params)
        return sum(leaf.size * 4 for leaf in jax.tree.leaves(saved))

    assert residual_bytes(True) < residual_bytes(False) / 5


def test_memory_of_restoring_does_not_grow_with_the_number_of_blocks():
    def temporary_bytes(num_blocks):
        graph, params = flat_params.split_factory(make_encoder(num_blocks=num_blocks))
        image = jax.ShapeDtypeStruct((1, 128, 128, 3), jnp.float32)
        apply = jax.jit(lambda p, x: flat_params.merge_module(graph, p)(x))
        return apply.lower(params, image).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(4) < 1.2 * temporary_bytes(2)


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
    config = common.get_config(preset)
    graphs, shapes = zip(*map(flat_params.split_factory, factories_of(config)))

    def restore(params, image):
        encoder, decoder = map(flat_params.merge_module, graphs, params)
        return decoder(encoder(image), image)

    image = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
    count = complexity.multiply_adds(restore, shapes, image)
    built = map(flat_params.merge_module, graphs, shapes)
    params = sum(map(complexity.num_params, built))
    assert 0.8 * max_params < params <= max_params
    assert 0.8 * max_giga_multiply_adds < count / 1e9 <= max_giga_multiply_adds


def factories_of(config):
    """The factories of the encoder and of D_dr of a config, as the stages use them."""
    return networks.encoder(config), networks.image_decoder(config, config.decoder)


@pytest.mark.parametrize("per_channel_scale", [False, True])
def test_params_are_float32_and_not_weakly_typed(per_channel_scale):
    # An update returns them strongly typed, so the train step would compile twice.
    config = common.get_config("smoke")
    config.encoder.per_channel_scale = per_channel_scale
    for make in factories_of(config):
        _, params = flat_params.split_factory(make)
        for name, value in params.items():
            assert (value.dtype, value.weak_type) == (jnp.float32, False), name


def test_networks_of_a_preset_are_those_of_its_config():
    config = common.get_config("smoke")
    classes = models.AGLFEncoder, models.ImageDecoder, models.RainClassifier
    factories = *factories_of(config), networks.classifier(config)
    for network, make in zip(classes, factories, strict=True):
        ours, theirs = (
            flat_params.split_factory(either)
            for either in (partial(network.from_preset, "smoke"), make)
        )
        assert ours == theirs


@pytest.mark.parametrize("field", ["alpha_init", "beta_init"])
def test_an_initial_weight_that_is_not_finite_is_named(field):
    with pytest.raises(ValueError, match=f"^{field}=nan must be finite"):
        flat_params.split_factory(make_encoder(**{field: float("nan")}))


@pytest.mark.parametrize(
    ("make", "field", "fault"),
    [
        *((make_encoder, name, "be at least 1") for name in aglf_vit._SIZES),
        (make_decoder, "stem_stride", "be at least 1"),
        (make_decoder, "pool_width", "be at least 1"),
        (make_decoder, "local_expansion", "be at least 1"),
        (make_decoder, "skip_width", "not be negative"),
        (partial(partial, models.make_classifier), "num_classes", "be at least 1"),
        (partial(partial, models.make_restormer), "width", "be at least 1"),
        (partial(partial, models.make_nafnet), "width", "be at least 1"),
    ],
)
def test_a_size_that_no_network_can_have_is_named(make, field, fault):
    value = -1 if field == "skip_width" else 0
    with pytest.raises(ValueError, match=f"^{field}={value} must {fault}"):
        flat_params.split_factory(make(**{field: value}))
