"""The embedded photographs."""

import numpy as np
import pytest
import skimage.data
import sklearn.datasets

from ttl_jax.data.sources import sample_source, source_names
from ttl_jax.data.sources.photographs import ROLES


def test_sample_is_split_by_photograph():
    def stems(source, role):
        return {
            p.name.split("/")[1] for p in source_names.open_photographs(source, role)
        }

    train = {"astronaut", "camera", "chelsea", "coffee", "flower", "motorcycle_left"}
    for role in ROLES:
        assert stems("sample/test", role) == {"china", "rocket"}
        assert stems("sample/train", role) == train
        assert stems("sample", role) == train | {"china", "rocket"}


def test_sample_photographs_are_those_of_the_packages():
    photographs = {
        p.name: p.load() for p in source_names.open_photographs("sample", "clean")
    }
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        expected = getattr(skimage.data, name)()
        np.testing.assert_array_equal(photographs[f"sample/{name}"], expected)
    camera = skimage.data.camera()[..., None].repeat(3, axis=-1)
    np.testing.assert_array_equal(photographs["sample/camera"], camera)
    china = sklearn.datasets.load_sample_image("china.jpg")
    np.testing.assert_array_equal(photographs["sample/china"], china)


def test_sample_pairs_are_renderings_of_the_clean_side():
    pairs = source_names.open_pairs("sample/test")
    assert [pair.name for pair in pairs][:4] == [
        *(f"sample/china/rain{i:02}" for i in range(3)),
        "sample/rocket/rain00",
    ]
    for pair in pairs:
        rainy, clean = pair.load()
        assert rainy.shape == clean.shape == (pair.height, pair.width, 3)
        np.testing.assert_array_equal(clean, pair.clean.load())
        assert 16 < np.sqrt(np.mean((rainy.astype(float) - clean) ** 2)) < 70
    names = [p.name for p in source_names.open_photographs("sample/test", "rainy")]
    assert names == [pair.name for pair in pairs]


def test_a_rendering_depends_on_photograph_and_variant_only():
    first = source_names.open_pairs("sample/test")[1].rainy.load()
    sample_source._render.cache_clear()
    same, other = (source_names.open_pairs("sample")[i].rainy.load() for i in (46, 47))
    assert source_names.open_pairs("sample")[46].name == "sample/china/rain01"
    np.testing.assert_array_equal(first, same)
    assert np.any(same != other)


def test_sample_images_are_read_only():
    for image in source_names.open_pairs("sample/test")[0].load():
        with pytest.raises(ValueError, match="read-only"):
            image[0, 0] = 0
