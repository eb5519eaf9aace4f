"""The shipped weights have the properties that their model card states."""

import json
import pathlib
import re

import numpy as np
import pytest
import safetensors
from PIL import Image

import ttl_jax
import ttl_jax.lite
from ttl_jax import export
from ttl_jax.data.loading import transforms
from ttl_jax.data.rain import live_rain
from ttl_jax.data.sources import source_names
from ttl_jax.inference import windows
from ttl_jax.inference.recognizer import Recognizer
from ttl_jax.metrics import agreement, image_quality
from ttl_jax.weights import packed_files, shipped

FILES = (shipped.DERAIN, shipped.find("shipped@0.1"), shipped.RECOG)
CARD = shipped.DERAIN.with_name("MODEL_CARD.md")


@pytest.fixture(scope="module")
def restorer():
    return ttl_jax.load()


@pytest.fixture(scope="module")
def onnx():
    """By onnxruntime, since JAX would compile a large network."""
    pytest.importorskip("onnxruntime")
    return ttl_jax.lite.load()


@pytest.fixture(scope="module")
def restore(onnx):
    return onnx.restore


def middle(image):
    """The middle of an image, for time."""
    return transforms.CENTRE.crop(image, 160)


def psnr(image, other):
    pair = (np.asarray(side, np.float32)[None] / 255 for side in (image, other))
    return float(image_quality.psnr(*pair, protocol="rgb")[0])


@pytest.mark.parametrize("name", [shipped.SHIPPED, pathlib.Path(shipped.SHIPPED)])
def test_they_are_loaded_by_name(name, restorer):
    loaded = ttl_jax.load(name)
    assert (loaded.name, loaded.step) == (restorer.name, restorer.step)


def test_the_onnx_file_has_the_same_weights_and_windows(restorer, onnx):
    assert onnx.metadata["digest"] == restorer.digest
    size = (3000, 4000)  # several windows along each side
    assert list(onnx.plan(*size)) == list(restorer.plan(*size))
    assert export._make_parser().get_default("window") == windows.SIDE


def test_version_0_1_sums_over_the_whole_image_with_the_same_arrays(restorer):
    old = ttl_jax.load("shipped@0.1")
    assert old.digest == restorer.digest
    (window,) = old.plan(1000, 1500)
    assert (window.height, window.width) == (1000, 1500)
    assert len(list(restorer.plan(1000, 1500))) == 4


def test_they_are_small():
    assert sum(file.stat().st_size for file in FILES) <= 8e6


def test_held_out_photographs_in_rendered_rain_gain_two_decibels(restore):
    gains = []
    for pair in source_names.open_pairs("sample/test"):
        rainy, clean = map(middle, pair.load())
        gains.append(psnr(restore(rainy), clean) - psnr(rainy, clean))
    assert np.mean(gains) > 2, gains


def test_a_photograph_without_rain_stays_as_it_is(restore):
    for photograph in source_names.open_photographs("sample", "clean"):
        image = middle(photograph.load())
        assert psnr(restore(image), image) > 34, photograph.name


@pytest.fixture(scope="module")
def two_windows():
    """A photograph of two windows, in rendered rain."""
    photograph = source_names.open_photographs("sample/test", "clean")[0]
    clean = Image.fromarray(photograph.load()).resize((1100, 500), Image.BICUBIC)
    clean = np.asarray(clean)
    return live_rain.Additive().render(clean, clean, 1100, np.random.default_rng(5))


def test_crops_of_a_large_scene_agree_with_the_whole(restore, two_windows):
    found = agreement.measure(two_windows, restore(two_windows), restore)
    assert found.disagreement <= 0.15
    assert found.change_ratio >= 0.9


def test_windows_of_a_large_scene_meet_without_visible_steps(onnx, two_windows):
    windows = onnx.restore_windows(two_windows)
    seams = agreement.measure_seams(windows, two_windows.shape[:2])
    # Levels of 255. The goals are 0.5 and 2, which these weights miss (MODEL_CARD.md).
    assert seams.mean <= 1
    assert seams.high <= 3


def test_unknown_versions_are_rejected():
    with pytest.raises(ValueError, match="choose one of shipped, shipped@0.1"):
        ttl_jax.load("shipped@9")


def test_the_rain_score_is_higher_with_rain_than_without():
    recognizer = Recognizer.from_checkpoint(shipped.SHIPPED)
    for pair in source_names.open_pairs("sample/test")[::2]:
        rainy, clean = map(middle, pair.load())
        assert recognizer.score(rainy) > recognizer.score(clean), pair.rainy.name


def test_the_recognizer_did_not_train_the_rain_remover():
    assert (
        Recognizer.from_checkpoint(shipped.SHIPPED).is_teacher_of(shipped.SHIPPED)
        is False
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_card_describes_these_files(file):
    with safetensors.safe_open(file, framework="numpy") as opened:
        digests = json.loads(opened.metadata()["ttl_jax"])["digests"]
    for module, digest in digests.items():
        assert re.search(rf"`{module}`\W+`{digest}`", CARD.read_text()), module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_metadata_name_no_private_folders(file):
    assert not re.search(
        r"[\"':](/|~|[A-Z]:)", json.dumps(packed_files.read_metadata(file))
    )
