"""Restoring arrays of every kind, with the network of a checkpoint."""

import concurrent.futures
import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ttl_jax
from tests import pictures
from tests.inference import tiny_networks
from tests.training import metadata
from ttl_jax import models
from ttl_jax.inference import pixels, programs, restorer
from ttl_jax.stages.stage import Stage
from ttl_jax.weights import checkpoint, flat_params

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
    """Writes a run as training does; returns its networks."""
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
        networks[name] = tiny_networks.draw(make, i)
        _, params[name] = flat_params.split_module(networks[name])
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
    """Result of the saved networks for RGB in [0, 1]."""
    image = np.asarray(rgb, np.float32)
    return tiny_networks.restore(networks["encoder"], networks["decoder"], image)


def test_network_is_rebuilt_from_the_checkpoint_alone(run):
    networks, ours, run_dir = run
    image = random_image((9, 14, 3), np.float32)
    expected = expected_for(networks, image)
    np.testing.assert_allclose(ours.restore(image), expected, atol=1e-5)
    assert np.abs(expected - image).max() > 0.01
    assert (ours.name, ours.step) == ("derain", 3)
    np.testing.assert_array_equal(
        ttl_jax.load(run_dir).restore(image), ours.restore(image)
    )


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


@pytest.mark.parametrize("size", [(1, 1), (3, 40)])
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
def test_other_types_and_shapes_are_rejected(run, image, fault):
    with pytest.raises(ValueError, match=fault):
        run[1].restore(image)


# Windows


LOCAL = {"attention_cell": 16, "attention_radius": 1}
LAYOUT = {"side": 48, "overlap": 16}


def make_restorer(encoder, decoder, **layout):
    return restorer.Restorer(encoder, decoder, name="run", **LAYOUT | layout)


@pytest.fixture(scope="module")
def local():
    """Networks with local sums on a grid of 16 pixels."""
    return tiny_networks.make(**LOCAL)


def reflect(image, height, width):
    padding = (0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0)
    return np.pad(image, padding, mode="reflect")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(1, 1), (7, 90), (90, 7)])
def test_images_smaller_than_half_of_the_grid_stay_as_they_are(local, size, dtype):
    image = random_image((*size, 4), dtype)
    restored = make_restorer(*local).restore(image)
    np.testing.assert_array_equal(restored, image)
    assert restored is not image


@pytest.mark.parametrize("size", [(9, 14), (33, 48)])
def test_an_image_of_one_window_is_the_network_s_result_for_it_reflected(local, size):
    image = random_image((*size, 3), np.float32)
    padded = reflect(image, *(-(-side // 16) * 16 for side in size))
    expected = tiny_networks.restore(*local, padded)[: size[0], : size[1]]
    restored = make_restorer(*local).restore(image)
    np.testing.assert_allclose(restored, expected, atol=1e-5)
    assert np.abs(expected - image).max() > 0.01


def trapezium(start, side, padded):
    """Weights of a window of an axis, by linear interpolation."""
    levels = [start == 0, 1, 1, start + side == padded]
    return np.interp(np.arange(side) + 0.5, [0, 16, side - 16, side], levels)


def test_a_larger_image_is_the_weighted_sum_of_its_windows(local):
    image = random_image((100, 90, 3), np.float32)
    padded = reflect(image, 112, 96)
    total = np.zeros(padded.shape)
    for top, height in ((0, 48), (32, 48), (64, 48)):
        for left, width in ((0, 48), (32, 48), (64, 32)):
            window = slice(top, top + height), slice(left, left + width)
            values = tiny_networks.apply(*local, padded[window])
            factor = trapezium(top, height, 112)[:, None] * trapezium(left, width, 96)
            np.add.at(total, window, factor[..., None] * values)
    restored = make_restorer(*local).restore(image)
    expected = np.clip(total[:100, :90], 0, 1)
    np.testing.assert_allclose(restored, expected, atol=1e-5)
    whole = tiny_networks.restore(*local, padded)[:100, :90]
    # Windows are a definition of their own.
    assert np.abs(restored - whole).max() > 1e-4


class PerPixel(nnx.Module):
    """A network that looks at nothing but a pixel: any windows give the same."""

    grid, width, stem_stride = 8, 3, 1

    def __init__(self):
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, image, _=None):
        return image**2 * self.scale[...]


@pytest.mark.parametrize("layout", [{}, {"side": 24, "overlap": 8}, {"side": 768}])
@pytest.mark.parametrize("size", [(5, 130), (100, 90)])
def test_a_network_that_windows_cannot_change_is_restored_exactly(size, layout):
    image = random_image((*size, 3), np.float32)
    restored = make_restorer(PerPixel(), PerPixel(), **layout).restore(image)
    np.testing.assert_allclose(restored, image**4, atol=1e-6)


def test_results_depend_on_no_batch_and_no_other_image(local):
    images = [random_image((20 + 9 * i, 80, 3), np.uint8) for i in range(6)]
    alone = make_restorer(*local, batch_size=1)
    expected = [alone.restore(image) for image in images]
    network = make_restorer(*local, batch_size=4)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for result, wanted in zip(pool.map(network.restore, images), expected):
            assert np.abs(result.astype(int) - wanted).max() <= 1  # a level of rounding


@pytest.mark.parametrize("shape", [(50, 70), (50, 70, 2), (50, 70, 4)])
def test_grey_and_alpha_are_restored_in_windows_too(local, shape):
    network = make_restorer(*local)
    image = random_image(shape, np.uint16)
    restored = network.restore(image)
    assert restored.shape == shape and restored.dtype == np.uint16
    if shape == (50, 70, 4):
        np.testing.assert_array_equal(restored[..., 3], image[..., 3])
        np.testing.assert_array_equal(
            restored[..., :3], network.restore(image[..., :3])
        )
        return
    grey = image.reshape(50, 70, -1)[..., :1]
    rgb = np.repeat(grey / np.float32(65535), 3, axis=-1)
    expected = network.restore(rgb).mean(axis=-1)
    found = pixels.to_unit_range(restored.reshape(50, 70, -1)[..., 0])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(50, 70, 2), (50, 70, 4)])
def test_colours_under_alpha_0_have_no_influence_and_are_kept(local, shape):
    network = make_restorer(*local)
    image = random_image(shape, np.uint8)
    image[..., -1] |= 1
    image[10:30, 20:60, -1] = 0
    black = image.copy()
    black[10:30, 20:60, :-1] = 0
    restored, other = network.restore(image), network.restore(black)
    visible = image[..., -1] > 0
    np.testing.assert_array_equal(restored[visible], other[visible])
    np.testing.assert_array_equal(restored[~visible], image[~visible])
    np.testing.assert_array_equal(other[~visible], black[~visible])


def test_grey_stored_as_rgb_stays_grey(local):
    network = make_restorer(*local)
    grey = random_image((50, 70), np.uint8)
    restored = network.restore(np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_array_equal(
        restored, np.repeat(network.restore(grey)[..., None], 3, axis=-1)
    )


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (1.5, r"go from 0.25 to 1.5;.*Divide by 255"),
        (-0.5, r"go from -0.5 to 0.25;.*Divide by 255"),
        (1 + 2e-7, r"go from 0.25 to 1.0000002.*Clip them by numpy.clip"),
        (np.nan, "Pixels are NaN; replace them"),
    ],
)
def test_floats_outside_the_unit_range_are_rejected_with_a_way_out(
    local, level, message
):
    image = np.full((8, 8, 3), 0.25, np.float32)
    image[3, 4, 1] = level
    with pytest.raises(ValueError, match=message):
        make_restorer(*local).restore(image)


@pytest.mark.parametrize("channels", [3, 4])
def test_the_order_of_bytes_does_not_matter(local, channels):
    image = pictures.noise(8, 8, channels, dtype=np.uint16)
    restored = make_restorer(*local).restore(image.astype(">u2"))
    assert restored.dtype == ">u2"
    np.testing.assert_array_equal(restored, make_restorer(*local).restore(image))


def test_windows_can_be_restored_without_blending(local):
    network = make_restorer(*local)
    image = random_image((100, 90, 3), np.float32)
    found = list(network.restore_windows(image))
    assert [window for window, _ in found] == list(network.plan(100, 90))
    (top, left, height, width), values = found[4]
    window = image[top : top + height, left : left + width]
    expected = tiny_networks.apply(*local, window)
    np.testing.assert_allclose(values, expected, atol=1e-5)


def test_one_shape_of_windows_has_one_program(local):
    network = make_restorer(*local)
    before = programs.restore._cache_size()
    for height in (112, 144, 111, 176):  # windows of 48 x 16
        network.restore(random_image((height, 9, 3), np.uint8))
    assert programs.restore._cache_size() == before + 1


# Strength, ensemble, progress


def test_strength_is_the_share_of_the_change(local):
    network = make_restorer(*local)
    image = random_image((60, 40, 3), np.uint8)
    values = image / np.float32(255)
    expected = values + np.float32(0.3) * (network.restore(values) - values)
    found = network.restore(values, strength=0.3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    rounded = network.restore(image, strength=0.3)
    assert np.abs(rounded - 255 * expected).max() <= 0.501


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_no_strength_returns_a_copy_of_the_image(local, dtype):
    image = random_image((20, 30, 4), dtype)
    restored = make_restorer(*local).restore(image, strength=0)
    np.testing.assert_array_equal(restored, image)
    assert restored is not image


@pytest.mark.parametrize("strength", [-0.1, 1.5, np.nan])
def test_other_strengths_are_rejected_before_any_work(strength, monkeypatch):
    network = make_restorer(PerPixel(), PerPixel())
    monkeypatch.setattr(programs, "restore", None)
    with pytest.raises(ValueError, match=f"strength={strength} is out of range; use 0"):
        network.restore(np.zeros((8, 8, 3)), strength=strength)


def test_the_ensemble_is_the_mean_with_the_mirrored_image_mirrored_back(local):
    network = make_restorer(*local)
    image = random_image((100, 90, 3), np.float32)
    mirrored = network.restore(np.ascontiguousarray(image[:, ::-1]))[:, ::-1]
    plain = network.restore(image)
    assert np.abs(plain - mirrored).max() > 1e-3
    found = network.restore(image, ensemble=True)
    np.testing.assert_allclose(found, (plain + mirrored) / 2, atol=1e-6)


@pytest.mark.parametrize("ensemble", [False, True])
def test_progress_counts_all_windows(local, ensemble):
    image, calls = random_image((100, 90, 3), np.uint8), []
    report = lambda *call: calls.append(call)
    make_restorer(*local).restore(image, ensemble=ensemble, progress=report)
    total = 18 if ensemble else 9
    assert calls[0] == (0, total)
    assert sorted({done for done, _ in calls}) == [*range(total + 1)]


def test_progress_can_end_a_restoration_after_the_current_window(monkeypatch):
    computed, release = [], threading.Event()

    def compute(encoder, decoder, images):
        computed.append(images.shape)
        assert release.wait(20)
        return images

    monkeypatch.setattr(programs, "restore", compute)
    network = make_restorer(PerPixel(), PerPixel())

    def progress(done, total):
        if computed:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network.restore(np.zeros((500, 500, 3), np.uint8), progress=progress)
    release.set()
    assert network.restore(np.zeros((8, 16, 3), np.uint8)).shape == (8, 16, 3)
    assert [shape[1:] for shape in computed] == [(48, 48, 3), (8, 16, 3)]


@pytest.mark.parametrize("name", ["aglf_vit", *tiny_networks.PEERS])
def test_a_network_with_sums_over_the_image_restores_it_whole_and_unpadded(name):
    is_peer = name in tiny_networks.PEERS
    networks = tiny_networks.make_peer(name) if is_peer else tiny_networks.make()
    image = random_image((71, 101, 3), np.float32)
    network = make_restorer(*networks)
    expected = tiny_networks.restore(*networks, image)
    assert np.abs(expected - image).max() > 0.01
    np.testing.assert_allclose(network.restore(image), expected, atol=1e-5)
    assert network.batch_size == 1  # whole images rarely have the same size


def test_it_refuses_images_above_the_limit(monkeypatch):
    networks = tiny_networks.make()
    # 8 channels at half resolution.
    per_pixel = 4 * networks[0].num_features_held * 8 / 4
    monkeypatch.setattr(restorer, "MEMORY_LIMIT", 1000 * per_pixel)
    network = make_restorer(*networks)
    assert network.restore(np.zeros((20, 50, 3), np.uint8)).shape == (20, 50, 3)
    monkeypatch.setattr(programs, "restore", None)
    with pytest.raises(
        ValueError, match="1,020 pixels are more than 1,000.*local sums"
    ):
        network.restore(np.zeros((20, 51, 3), np.uint8))
    assert make_restorer(*tiny_networks.make(**LOCAL)).max_pixels is None


def test_maps_of_dense_attention_count_by_the_square_of_the_pixels(monkeypatch):
    networks = tiny_networks.make(global_branch="dense")  # two heads, 8 x 8 pixels each
    num_pixels, per_pixel = 50_000, 4 * networks[0].num_features_held * 8 / 4
    maps = restorer._MAPS_HELD * 4 * 2 * (num_pixels / 64) ** 2
    monkeypatch.setattr(restorer, "MEMORY_LIMIT", num_pixels * per_pixel + maps)
    assert make_restorer(*networks).max_pixels == pytest.approx(num_pixels, abs=1)


# Checkpoints


def test_networks_that_differ_in_the_form_of_a_param_restore_side_by_side(tmp_path):
    image = random_image((9, 14, 3), np.float32)
    for per_channel in (False, True):
        encoder = functools.partial(MODULES["encoder"], per_channel_scale=per_channel)
        run_dir = tmp_path / str(per_channel)
        saved = save_run(run_dir, {**MODULES, "encoder": encoder})
        restored = ttl_jax.load(run_dir).restore(image)
        np.testing.assert_allclose(restored, expected_for(saved, image), atol=1e-5)


def test_nan_from_a_network_is_an_error(tmp_path):
    encoder, decoder = save_run(tmp_path / "derain").values()
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, nnx.state(decoder))
    nnx.update(decoder, broken)
    network = restorer.Restorer(encoder, decoder, name="derain")
    with pytest.raises(ValueError, match="network returned NaN"):
        network.restore(random_image((8, 8, 3), np.uint8))


def test_a_run_that_restores_no_images_is_rejected(tmp_path):
    classifier = functools.partial(models.make_classifier, width=WIDTH, pools=(4, 2))
    save_run(tmp_path / "recog", {**MODULES, "decoder": classifier})
    fault = "make_classifier, not make_image_decoder or .*; restoring"
    with pytest.raises(ValueError, match=fault):
        ttl_jax.load(tmp_path / "recog")
    save_run(tmp_path / "distill", {"encoder": MODULES["encoder"]})
    with pytest.raises(ValueError, match=r"holds \['encoder'\]"):
        ttl_jax.load(tmp_path / "distill")


def test_networks_of_one_architecture_share_their_programs(tmp_path):
    save_run(tmp_path / "one")
    shifted = save_run(tmp_path / "two", dict(reversed(MODULES.items())))
    before = programs.restore._cache_size()
    image = np.full((21, 13, 3), (90, 100, 110), np.uint8)
    first, second = (
        ttl_jax.load(tmp_path / name).restore(image) for name in ("one", "two")
    )
    assert programs.restore._cache_size() == before + 1
    assert (first != second).any()  # each with weights of its own
    expected = expected_for(shifted, image / np.float32(255))
    np.testing.assert_allclose(second, np.round(expected * 255), atol=1)
