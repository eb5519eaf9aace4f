"""Metrics on disk: a full disk ends the run instead of stopping its writer silently."""

import numpy as np
import pytest
from tensorboardX import record_writer

from ttl_jax.training import metric_writer


@pytest.fixture
def full_disk(monkeypatch):
    """Makes event files report a full disk when they are flushed."""

    def open_file(path):
        return open("/dev/full", "wb")

    monkeypatch.setattr(record_writer, "open_file", open_file)


@pytest.fixture
def writer(tmp_path, full_disk):
    return metric_writer.MetricWriter(tmp_path, first_step=0, enabled=True)


def test_a_full_disk_is_reported_with_the_folder_of_tensorboard(writer, tmp_path):
    fault = f"No space left on device: '{tmp_path / metric_writer.TENSORBOARD}'"
    with pytest.raises(OSError, match=fault):
        writer.write(1, {"loss": 0.5})
    with pytest.raises(OSError, match=fault):
        writer.write_images(1, {"image": np.zeros((4, 4, 3), np.uint8)})
    with pytest.raises(OSError, match=fault):
        writer.close()
    assert metric_writer.read(writer.path) == [{"step": 1, "loss": 0.5}]


def test_closing_on_a_full_disk_names_the_folder_and_closes_the_other_file(
    writer, tmp_path
):
    with pytest.raises(OSError, match=f"'{tmp_path / metric_writer.TENSORBOARD}'"):
        writer.close()
    assert writer._file.closed


def test_rows_and_events_are_on_the_disk_before_the_run_ends(tmp_path):
    writer = metric_writer.MetricWriter(tmp_path, first_step=0, enabled=True)
    (path,) = (tmp_path / metric_writer.TENSORBOARD).iterdir()
    before = path.stat().st_size
    writer.write(1, {"loss": 0.5})
    assert path.stat().st_size > before
    assert metric_writer.read(writer.path) == [{"step": 1, "loss": 0.5}]
    writer.close()
