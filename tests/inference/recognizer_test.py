"""The rain score of a recognition network's checkpoint."""

import functools
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import pictures, random_networks
from tests.training import metadata
from ttl_jax import models
from ttl_jax.inference.recognizer import Recognizer
from ttl_jax.weights import checkpoint, fingerprints, flat_params, shipped

NETWORK = {"width": 8, "num_blocks": 1, "head_width": 4}
CLASSIFIER = {"width": 8, "pools": (4, 2)}


def save_run(run_dir, factory="make_classifier", origins=None, seed=0):
    """Writes a run as training does; returns its encoder and its decoder."""
    described = {
        "encoder": {"factory": "make_encoder", **NETWORK},
        "decoder": {"factory": factory, **CLASSIFIER},
    }
    factories = {
        "encoder": functools.partial(models.make_encoder, **NETWORK),
        "decoder": functools.partial(models.FACTORIES[factory], **CLASSIFIER),
    }
    modules = {
        name: random_networks.make(make, seed=seed + i)[0]
        for i, (name, make) in enumerate(factories.items())
    }
    params = {n: flat_params.split_module(module)[1] for n, module in modules.items()}
    saver = checkpoint.Checkpointer(run_dir, keep=1)
    told = metadata.make(modules=described, origins=origins or {})
    saver.save(1, {"params": params}, told)
    saver.close()
    return modules["encoder"], modules["decoder"]


@pytest.fixture(scope="module")
def recog(tmp_path_factory):
    """The folder of a run, its encoder and its decoder."""
    run_dir = tmp_path_factory.mktemp("runs") / "recog"
    return run_dir, *save_run(run_dir)


def test_the_score_of_one_full_window_is_the_network_s_output(recog):
    run_dir, encoder, decoder = recog
    recognizer = Recognizer.from_checkpoint(run_dir)
    score = jax.jit(lambda images: decoder(encoder(images)))
    assert recognizer.name == "recog"
    for height, width in ((24, 16), (8, 40)):  # on the grid of the pools
        image = pictures.noise(height, width, 3)
        expected = score(image[None] / np.float32(255))
        np.testing.assert_allclose(recognizer.score(image), expected[0], atol=1e-5)


def test_the_name_of_packed_weights_is_printable(tmp_path):
    packed = shipped.find(shipped.SHIPPED, recognizes=True)
    copy = tmp_path / (os.fsdecode(b"caf\xe9") + packed.suffix)
    shutil.copy(packed, copy)
    assert Recognizer.from_checkpoint(copy).name == "caf\ufffd"


def test_the_score_of_an_image_is_that_of_the_weighted_mean_over_its_windows(recog):
    _, encoder, decoder = recog
    pool = jax.jit(lambda images: decoder.spp(encoder(images)))
    recognizer = Recognizer(encoder, decoder, name="recog", side=24, overlap=8)
    image = pictures.noise(21, 37, 3)
    padded = np.pad(image, ((0, 3), (0, 3), (0, 0)), mode="reflect") / np.float32(255)
    total, total_weight = 0, 0
    for left in (0, 16):  # windows of 24 pixels that share 8
        weights = np.ones((24, 24))
        ramp = (np.arange(8) + 0.5) / 8
        if left == 0:
            weights[:, 16:] = 1 - ramp
        else:
            weights[:, :8] = ramp
        weights[21:] = 0
        weights[:, 37 - left :] = 0
        pooled = np.asarray(pool(padded[None, :, left : left + 24]))[0]
        # A pixel of the features stands for 2 x 2 pixels of the image.
        pooled = pooled.repeat(2, axis=0).repeat(2, axis=1)
        total += (weights[..., None] * pooled).sum(axis=(0, 1))
        total_weight += weights.sum()
    assert total_weight == 21 * 37
    expected = decoder.to_score(jnp.asarray(total / total_weight)[None])[0, 0]
    np.testing.assert_allclose(recognizer.score(image), expected, atol=1e-5)


def test_pixels_beyond_the_image_count_nothing(recog):
    _, encoder, decoder = recog
    pool = jax.jit(lambda images: decoder.spp(encoder(images)))
    recognizer = Recognizer(encoder, decoder, name="recog")
    flat = np.full((10, 13, 3), 90, np.uint8)
    flat[:, :, 1] = 200
    # Reflection continues a flat image by itself: the score is that of the full window.
    full = np.broadcast_to(flat[:1, :1], (16, 16, 3))
    weights = np.zeros((8, 8))
    weights[:5, :6], weights[:5, 6] = 1, 0.5
    pooled = pool(full[None] / np.float32(255))[0]
    mean = jnp.asarray(
        np.average(pooled.reshape(64, -1), axis=0, weights=weights.ravel())
    )
    expected = decoder.to_score(mean[None])[0, 0]
    np.testing.assert_allclose(recognizer.score(flat), expected, atol=1e-5)


def test_a_run_without_a_classifier_is_rejected(tmp_path):
    save_run(tmp_path / "derain", "make_image_decoder")
    with pytest.raises(
        ValueError, match="make_classifier; recognizing rain takes a run"
    ):
        Recognizer.from_checkpoint(tmp_path / "derain")


def test_other_types_and_shapes_are_rejected(recog):
    recognizer = Recognizer.from_checkpoint(recog[0])
    with pytest.raises(ValueError, match="not float64 of shape"):
        recognizer.score(np.zeros((16, 16, 3)))


def test_runs_trained_from_the_recognizer_are_detected(tmp_path):
    def digest_of(encoder):
        return fingerprints.digest(flat_params.split_module(encoder)[1])

    encoder, _ = save_run(tmp_path / "recog")
    make_origin = functools.partial(dict, module="encoder", step=1)
    taught = {"recog_encoder": make_origin(run="recog", digest=digest_of(encoder))}
    student, _ = save_run(tmp_path / "distill", origins=taught, seed=5)
    save_run(
        tmp_path / "derain",
        origins={"encoder": make_origin(run="distill", digest=digest_of(student))},
        seed=10,
    )
    save_run(
        tmp_path / "earlier",  # by a step of the same run that had other weights
        origins={"encoder": make_origin(run="recog", digest="earlier")},
    )
    save_run(
        tmp_path / "orphan", origins={"encoder": make_origin(run="gone", digest="x")}
    )
    recognizer = Recognizer.from_checkpoint(tmp_path / "recog")
    assert recognizer.is_teacher_of(tmp_path / "derain") is True
    assert recognizer.is_teacher_of(tmp_path / "earlier") is True
    assert recognizer.is_teacher_of(tmp_path / "recog") is False
    assert recognizer.is_teacher_of(tmp_path / "orphan") is None
