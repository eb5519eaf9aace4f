"""Restoring arrays of every kind, with the network of a checkpoint."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ttl_jax
from tests.training import metadata
from ttl_jax import models
from ttl_jax.inference import memory, restorer, tiles, whole
from ttl_jax.stages.stage import Stage
from ttl_jax.training import checkpoint, flat_params

WIDTH = 8
MODULES = {
    "encoder": functools.partial(
        models.make_encoder, width=WIDTH, num_blocks=1, head_width=4
    ),
    "decoder": functools.partial(
        models.make_image_decoder, width=WIDTH, pools=(4, 2), residual=True
    ),
}


def save_run(run_dir, modules=MODULES):
    """Writes a run as training does; returns its networks, with random last layers."""
    stage = Stage(
        run="derain",
        modules=modules,
        trainable=tuple(modules),
        learning_rates=dict.fromkeys(modules, 1e-3),
        loss_fn=lambda *_: None,
        eval_fn=lambda *_: None,
    )
    networks, params = {}, {}
    for i, (name, make) in enumerate(modules.items()):
        graph, params[name] = flat_params.split_module(make(rngs=nnx.Rngs(i)))
        keys = jax.random.split(jax.random.key(i), len(params[name]))
        params[name] = {
            leaf: value + 0.05 * jax.random.normal(k, value.shape)
            for k, (leaf, value) in zip(keys, params[name].items())
        }
        networks[name] = flat_params.merge_module(graph, params[name])
    saver = checkpoint.Checkpointer(run_dir, keep=1)
    described = {n: stage.describe_module(n) for n in modules}
    saver.save(3, {"params": params}, metadata.make(modules=described))
    saver.close()
    return networks


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "derain"
    networks = save_run(run_dir)
    return networks, restorer.Restorer.from_checkpoint(run_dir), run_dir


def random_image(shape, dtype):
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    return rng.random(shape, dtype)


def expected_for(networks, rgb):
    """What the networks that were saved make of RGB in [0, 1]."""
    batch = jnp.asarray(rgb[None], jnp.float32)
    restored = networks["decoder"](networks["encoder"](batch), batch)
    return np.clip(np.asarray(restored[0]), 0, 1)


def test_network_is_rebuilt_from_the_checkpoint_alone(run):
    networks, ours, _ = run
    image = random_image((9, 14, 3), np.float32)
    expected = expected_for(networks, image)
    np.testing.assert_allclose(ours.restore(image), expected, atol=1e-5)
    assert np.abs(expected - image).max() > 0.01
    assert (ours.name, ours.step) == ("derain", 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_scaled_by_their_range_and_rounded(run, dtype):
    networks, ours, _ = run
    image = random_image((8, 8, 3), dtype)
    peak = np.iinfo(dtype).max
    restored = ours.restore(image)
    assert restored.dtype == dtype
    expected = expected_for(networks, image / peak) * peak
    assert np.abs(restored - expected).max() <= 0.5 + 1e-5 * peak


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 1), (8, 9, 2), (8, 9, 4)])
def test_grey_and_alpha_keep_their_shape_and_alpha_its_values(run, shape):
    networks, ours, _ = run
    image = random_image(shape, np.uint8)
    restored = ours.restore(image)
    assert restored.shape == shape and restored.dtype == np.uint8
    if shape[-1] in (2, 4):
        np.testing.assert_array_equal(restored[..., -1], image[..., -1])
    if shape == (8, 9):
        rgb = np.repeat(image[..., None], 3, axis=-1) / 255
        expected = expected_for(networks, rgb).mean(axis=-1) * 255
        assert np.abs(restored - expected).max() <= 0.51


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (33, 2)])
def test_any_size_keeps_its_size(run, size):
    restored = run[1].restore(random_image((*size, 3), np.uint8))
    assert restored.shape == (*size, 3)


@pytest.mark.parametrize(
    ("image", "fault"),
    [
        (np.zeros((4, 4, 5), np.uint8), r"not \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), r"not \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int32), "not int32"),
    ],
)
def test_what_is_no_image_is_refused(run, image, fault):
    with pytest.raises(ValueError, match=fault):
        run[1].restore(image)


@pytest.fixture
def small_tiles(monkeypatch):
    """Images of some dozen pixels are several tiles."""
    monkeypatch.setattr(tiles, "Tiles", functools.partial(tiles.Tiles, side=16))


@pytest.mark.parametrize("free", [1000, 10**12])
def test_what_does_not_fit_into_memory_is_restored_in_tiles_and_said(
    run, monkeypatch, caplog, free, small_tiles
):
    networks, _, run_dir = run
    monkeypatch.setattr(memory, "free_bytes", lambda: free)
    image = random_image((40, 50, 3), np.float32)
    restored = restorer.Restorer.from_checkpoint(run_dir).restore(image)
    np.testing.assert_allclose(restored, expected_for(networks, image), atol=1e-5)
    said = (
        ["50 x 40 pixels take .* are free: restoring in tiles"] if free == 1000 else []
    )
    assert len(caplog.messages) == len(said)
    assert all(re.search(*both) for both in zip(said, caplog.messages))


def test_what_fits_neither_memory_nor_disk_is_refused_with_a_way_out(run, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    monkeypatch.setattr(memory, "has_room", lambda *_: False)
    with pytest.raises(OSError, match="set TMPDIR .* or take frozen sums"):
        run[1].restore(random_image((11, 21, 3), np.uint8))


def test_whole_images_that_do_not_fit_are_refused_where_tiles_are_not_wanted(
    run, monkeypatch
):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    ours = restorer.Restorer.from_checkpoint(run[2], tiling="whole")
    with pytest.raises(whole.DoesNotFit, match="21 x 11 pixels take .* GiB"):
        ours.restore(random_image((11, 21, 3), np.uint8))


@pytest.mark.parametrize("shape", [(50, 70), (50, 70, 4)])
@pytest.mark.parametrize("tiling", ["exact", "frozen"])
def test_grey_alpha_and_integers_are_tiled_as_whole(run, tiling, shape, small_tiles):
    tiled = restorer.Restorer.from_checkpoint(run[2], tiling=tiling)
    image = random_image(shape, np.uint16)
    restored = tiled.restore(image).astype(int)
    assert restored.shape == shape
    # A level of rounding; frozen sums are those over crops that repeat the middle.
    limit = 1 if tiling == "exact" else 330
    assert np.abs(restored - run[1].restore(image)).max() <= limit


def test_networks_that_differ_in_the_form_of_a_param_restore_side_by_side(tmp_path):
    image = random_image((9, 14, 3), np.float32)
    for per_channel in (False, True):
        encoder = functools.partial(MODULES["encoder"], per_channel_scale=per_channel)
        run_dir = tmp_path / str(per_channel)
        saved = save_run(run_dir, {**MODULES, "encoder": encoder})
        restored = ttl_jax.load(run_dir).restore(image)
        np.testing.assert_allclose(restored, expected_for(saved, image), atol=1e-5)


def test_dense_attention_has_no_tiles(tmp_path):
    encoder = functools.partial(MODULES["encoder"], global_branch="dense")
    save_run(tmp_path / "derain", {**MODULES, "encoder": encoder})
    with pytest.raises(ValueError, match="dense attention"):
        ttl_jax.load(tmp_path / "derain", tiling="exact")
    assert ttl_jax.load(tmp_path / "derain").restore(np.ones((8, 8))).shape == (8, 8)
    with pytest.raises(ValueError, match="Unknown tiling 'huge'; choose from"):
        ttl_jax.load(tmp_path / "derain", tiling="huge")


def test_a_network_that_gives_no_numbers_is_refused(tmp_path):
    encoder, decoder = save_run(tmp_path / "derain").values()
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, nnx.state(decoder))
    nnx.update(decoder, broken)
    network = restorer.Restorer(encoder, decoder, name="derain", step=3)
    with pytest.raises(ValueError, match="restores is not a number"):
        network.restore(random_image((8, 8, 3), np.uint8))


def test_load_is_the_public_way_in(run):
    _, ours, run_dir = run
    image = random_image((6, 6, 3), np.uint8)
    np.testing.assert_array_equal(
        ttl_jax.load(run_dir).restore(image), ours.restore(image)
    )


def test_a_run_that_restores_no_images_is_refused(tmp_path):
    classifier = functools.partial(models.make_classifier, width=WIDTH, pools=(4, 2))
    save_run(tmp_path / "recog", {**MODULES, "decoder": classifier})
    with pytest.raises(
        ValueError, match="make_classifier, not make_image_decoder; restoring"
    ):
        ttl_jax.load(tmp_path / "recog")


def test_a_run_without_a_decoder_is_refused(tmp_path):
    save_run(tmp_path / "distill", {"encoder": MODULES["encoder"]})
    with pytest.raises(ValueError, match=r"holds \['encoder'\]"):
        ttl_jax.load(tmp_path / "distill")


def test_networks_of_one_architecture_share_their_programs(tmp_path, monkeypatch):
    save_run(tmp_path / "one")
    shifted = save_run(tmp_path / "two", dict(reversed(MODULES.items())))
    monkeypatch.setattr(whole, "_programs", {})
    image = np.full((21, 13, 3), 90, np.uint8)
    first, second = (
        ttl_jax.load(tmp_path / name).restore(image) for name in ("one", "two")
    )
    assert len(whole._programs) == 1
    assert (first != second).any()  # each with weights of its own
    batch = jnp.asarray(image[None] / np.float32(255))
    expected = shifted["decoder"](shifted["encoder"](batch), batch)
    np.testing.assert_allclose(
        second, np.round(np.clip(expected[0], 0, 1) * 255), atol=1
    )
