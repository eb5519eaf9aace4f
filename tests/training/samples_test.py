"""Images of evaluations, side by side and in TensorBoard."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event

from tests.training import toy_stage
from ttl_jax.data.loading import pipeline
from ttl_jax.training import samples
from ttl_jax.weights import trained


def images_of(run_dir):
    """Pixels by (step, tag), read from the event files record by record."""
    found = {}
    for path in sorted((run_dir / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:  # length, checksum of it, event, checksum of it
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            for value in event.summary.value:
                if value.HasField("image"):
                    file = io.BytesIO(value.image.encoded_image_string)
                    found[event.step, value.tag] = np.array(Image.open(file))
            data = data[16 + length :]
    return found


def test_images_lie_side_by_side_in_8_bits_in_the_order_of_their_names():
    one = np.linspace(-0.5, 1.5, 2 * 3 * 5 * 3).reshape(2, 3, 5, 3)
    other = np.full((2, 3, 5, 3), 0.5)
    shown = samples.side_by_side({"b": one, "a": other}, np.array([True, True, False]))
    assert list(shown) == ["b_a/0", "b_a/1"]
    assert shown["b_a/1"].dtype == np.uint8 and shown["b_a/1"].shape == (3, 10, 3)
    np.testing.assert_array_equal(
        shown["b_a/0"][:, :5], np.round(255 * one[0].clip(0, 1))
    )
    np.testing.assert_array_equal(shown["b_a/1"][:, 5:], 128)


def test_rows_that_only_fill_a_batch_are_not_shown():
    rows = {"a": np.zeros((3, 4, 4, 3))}
    shown = samples.side_by_side(rows, np.array([True, False, True]))
    assert list(shown) == ["a/0", "a/2"]


def test_large_images_are_cut_to_their_centre():
    image = np.zeros((1, 300, 131, 3))
    image[:, 86:214, 1:129] = 1
    (shown,) = samples.side_by_side({"a": image}, np.array([True])).values()
    assert shown.shape == (128, 128, 3) and shown.min() == 255


def test_a_stage_without_images_shows_none():
    assert samples.side_by_side({}, np.array([True])) == {}


@pytest.fixture
def config(photographs):
    config = toy_stage.get_config(photographs, num_samples=2)
    config.eval_clean = ("sample/test",)
    return config


def test_each_evaluation_shows_the_same_crops_as_the_network_then_maps_them(
    config, tmp_path
):
    toy_stage.train(config, tmp_path)
    shown = images_of(tmp_path / "toy")
    tags = [f"photographs/input_dark/{i}" for i in range(2)]
    assert set(shown) == {(step, tag) for step in (0, 3, 6) for tag in tags}
    crops = next(pipeline.open_evaluation_data(config)["photographs"].batches())
    weights, _ = trained.load(tmp_path / "toy")
    kernel, bias = (weights["encoder"][f"linear.{n}"] for n in ("kernel", "bias"))
    for i, tag in enumerate(tags):
        bright, dark = np.split(shown[6, tag], 2, axis=1)
        np.testing.assert_array_equal(bright, crops["image"][i])
        expected = 255 * np.clip(crops["image"][i] / 255 @ kernel + bias, 0, 1)
        assert np.abs(dark - expected).max() < 0.51
        np.testing.assert_array_equal(shown[0, tag][:, :8], crops["image"][i])
