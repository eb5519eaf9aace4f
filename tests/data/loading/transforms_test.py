import collections
import dataclasses

import numpy as np
import pytest
from PIL import Image

from ttl_jax.data.files import images
from ttl_jax.data.loading import transforms
from ttl_jax.data.loading.transforms import View


def coordinates(height, width):
    """Returns an image whose pixels have their coordinates as values."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, y * 0 + 7], axis=-1).astype(np.uint8)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def test_a_crop_is_a_window_of_the_image():
    image = coordinates(40, 60)
    rng = np.random.default_rng(0)
    for _ in range(50):
        part = transforms.draw_view(rng).crop(image, 16)
        top, left = part[0, 0, :2]
        np.testing.assert_array_equal(part, image[top : top + 16, left : left + 16])


def test_every_window_is_drawn_equally_often():
    rng = np.random.default_rng(0)
    views = [transforms.draw_view(rng) for _ in range(6000)]
    image = coordinates(10, 9)
    corners = collections.Counter(tuple(v.crop(image, 8)[0, 0, :2]) for v in views)
    assert len(corners) == 3 * 2
    assert max(corners.values()) < 1.2 * min(corners.values())


def test_the_centre_view_is_the_centre():
    part = transforms.CENTRE.crop(coordinates(21, 31), 11)
    assert tuple(part[5, 5]) == (10, 15, 7)


@pytest.mark.parametrize(
    "shape", [(12, 40), (40, 12), (15, 9), (2, 3), (1, 1), (1, 50)]
)
def test_small_images_are_padded_as_by_numpy(shape):
    height, width = shape
    image = coordinates(height, width)
    rng = np.random.default_rng(0)
    for _ in range(10):
        view = transforms.draw_view(rng)
        part = view.crop(image, 33)
        assert part.shape == (33, 33, 3)
        padding = []
        for length, place in ((height, view.vertical), (width, view.horizontal)):
            before = int(place * (33 - length + 1)) if length < 33 else 0
            padding.append((before, max(33 - length - before, 0)))
        padded = np.pad(image, [*padding, (0, 0)], mode="reflect")
        top = 0 if height < 33 else int(view.vertical * (height - 33 + 1))
        left = 0 if width < 33 else int(view.horizontal * (width - 33 + 1))
        np.testing.assert_array_equal(part, padded[top : top + 33, left : left + 33])


def test_mirror_and_turns_reach_all_eight_symmetries_and_no_other():
    image = coordinates(8, 8)
    symmetries = {
        np.rot90(side, turns).tobytes()
        for side in (image, image[:, ::-1])
        for turns in range(4)
    }
    rng = np.random.default_rng(0)
    views = [
        transforms.draw_view(rng, mirror=True, quarter_turns=True) for _ in range(200)
    ]
    found = {view.crop(image, 8).tobytes() for view in views}
    assert found == symmetries and len(found) == 8


def test_colours_vary_by_the_order_of_channels_and_a_gamma_of_half_to_two(noise):
    rng = np.random.default_rng(0)
    views = [transforms.draw_view(rng, color_jitter=True) for _ in range(300)]
    assert len({view.channels for view in views}) == 6
    gammas = np.array([view.gamma for view in views])
    assert 0.5 <= gammas.min() < 0.51 and 1.96 < gammas.max() <= 2
    for view in views[:20]:
        place = View(vertical=view.vertical, horizontal=view.horizontal)
        plain = place.crop(noise, 16)
        expected = 255 * (plain[..., list(view.channels)] / 255) ** view.gamma
        tinted = view.crop(noise, 16)
        np.testing.assert_allclose(tinted, expected, atol=0.5 + 1e-9)


@pytest.mark.parametrize("channels", [(0, 1, 2), (2, 0, 1)])
def test_a_crop_owns_its_memory(noise, channels):
    part = View(channels=channels).crop(noise, 16)
    assert part.flags.c_contiguous and not np.shares_memory(part, noise)


@pytest.mark.parametrize(
    ("first", "second", "scale", "side"),
    [
        ((300, 400), (500, 200), 0.75, 150),  # three quarters of 200
        ((300, 400), (500, 200), 0.5, 128),  # not below the crop
        ((300, 400), (500, 128), 0.5, 128),
        ((300, 400), (500, 100), 0.75, 75),  # below it already
        ((300, 400), (1, 100), 0.5, 1),
    ],
)
def test_the_side_of_a_couple(first, second, scale, side):
    assert transforms.couple_side(first, second, 128, scale) == side
    assert transforms.couple_side(second, first, 128, scale) == side


def test_equalize_scales_crops_and_encodes(noise):
    # 120 x 160 to 60 x 80, of which the window at 12 of 0..28 and 16 of 0..48.
    view = View(vertical=0.43, horizontal=0.34, jpeg_quality=90)
    whole = Image.fromarray(noise).resize((80, 60), Image.Resampling.BICUBIC)
    window = np.asarray(whole)[12:44, 16:48]
    expected = images.jpeg(window, 90)
    np.testing.assert_array_equal(transforms.equalize(noise, 60, 32, view), expected)


def test_equalize_does_not_alias():
    y, x = np.mgrid[:256, :256]
    checkerboard = np.uint8(255 * ((x + y) % 2))[..., None].repeat(3, axis=-1)
    part = transforms.equalize(checkerboard, 128, 64, transforms.CENTRE)
    assert part.min() > 120 and part.max() < 135


def test_equalize_pads_both_axes_alike_whatever_the_aspect(noise, monkeypatch):
    monkeypatch.setattr(images, "jpeg", lambda image, quality: image)
    for image in (noise, noise[:, :125], np.tile(noise, (1, 4, 1)), noise[:, :40]):
        part = transforms.equalize(image, 30, 64, transforms.CENTRE)
        middle = part[17:47, 17:47]
        padded = np.pad(middle, [(17, 17), (17, 17), (0, 0)], mode="reflect")
        np.testing.assert_array_equal(part, padded)


def test_views_cover_their_ranges():
    rng = np.random.default_rng(0)
    views = [
        transforms.draw_view(rng, mirror=True, quarter_turns=True) for _ in range(2000)
    ]
    for name, low, high in (
        ("vertical", 0, 1),
        ("horizontal", 0, 1),
        ("scale", 0.5, 1),
        ("jpeg_quality", 60, 95),
    ):
        values = np.array([getattr(view, name) for view in views])
        assert low <= values.min() < low + 0.01 * (high - low) + 1e-9
        assert high >= values.max() > high - 0.01 * (high - low) - 1e-9
        assert values.mean() == pytest.approx((low + high) / 2, rel=0.03)


def test_every_other_view_is_resaved_and_otherwise_unchanged():
    views = []
    for seed in range(2000):
        plain = transforms.draw_view(np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        views.append(transforms.draw_view(rng, resave_pairs=True))
        changed = dataclasses.replace(views[-1], zoom=1.0, resave_quality=None)
        assert changed == plain
    resaved = [view for view in views if view.resave_quality is not None]
    assert 900 < len(resaved) < 1100
    assert all(view.zoom == 1 for view in views if view.resave_quality is None)
    zooms = np.log2([view.zoom for view in resaved])
    assert -1 <= min(zooms) < -0.95 and 0.95 < max(zooms) <= 1
    assert abs(np.mean(zooms)) < 0.06
    assert {view.resave_quality for view in resaved} == set(range(40, 96))


def test_resaving_scales_to_the_size_and_compresses():
    ramp = coordinates(64, 64)
    for size in (32, 128):
        scaled = View().resave(ramp, size)
        assert scaled.shape == (size, size, 3)
        inner = scaled[size // 4 : -size // 4, :, 0].astype(float)
        np.testing.assert_allclose(np.diff(inner, axis=0).mean(), 64 / size, rtol=0.02)
    np.testing.assert_array_equal(View().resave(ramp, 64), ramp)
    view = View(resave_quality=50)
    np.testing.assert_array_equal(view.resave(ramp, 64), images.jpeg(ramp, 50))


def test_a_whole_view_shows_the_shorter_side_where_that_is_larger():
    view = View(is_whole=True, zoom=2.0)
    assert view.reach(96, 321, 481) == 321
    assert view.reach(96, 64, 481) == 48  # as the zoom says
    assert View(zoom=2.0).reach(96, 321, 481) == 48


def test_whole_views_have_the_given_share():
    rng = np.random.default_rng(0)
    views = [transforms.draw_view(rng, whole_share=0.2) for _ in range(3000)]
    assert np.mean([view.is_whole for view in views]) == pytest.approx(0.2, abs=0.03)
    assert not any(transforms.draw_view(rng).is_whole for _ in range(100))
