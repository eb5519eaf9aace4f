"""Saved steps: reading, naming and refusing them."""

import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import metadata
from ttl_jax.training import sharding
from ttl_jax.weights import checkpoint, fingerprints, saved_runs, trained


def save(run_dir, params, *, step=1, ema=None, best=None):
    items = {"params": params} | ({"ema": ema} if ema else {})
    saver = checkpoint.Checkpointer(run_dir, keep=3)
    saver.save(
        step,
        items,
        metadata.make(ema=ema is not None, best=best, evaluation={"x": 0.1}),
    )
    saver.close()


def test_weights_and_metadata_are_read_back_exactly(tmp_path, key):
    weights = {"encoder": {"w": jax.random.normal(key, (3, 4))}}
    save(tmp_path, weights, step=7)
    loaded, told = trained.load(tmp_path)
    np.testing.assert_array_equal(loaded["encoder"]["w"], weights["encoder"]["w"])
    assert told == metadata.make(evaluation={"x": 0.1}) | {"step": 7}


def test_moving_average_is_read_where_the_run_keeps_one(tmp_path, params):
    ema = jax.tree.map(lambda x: x + 5, {"encoder": params})
    save(tmp_path, {"encoder": params}, ema=ema)
    loaded, _ = trained.load(tmp_path)
    np.testing.assert_array_equal(loaded["encoder"]["a.bias"], np.full(3, 5.0))


def test_weights_of_many_devices_are_read_where_there_is_one(tmp_path, key):
    weights = {"encoder": {"w": jax.random.normal(key, (3, 4))}}
    everywhere = sharding.replicated(sharding.make_mesh())
    save(tmp_path, jax.device_put(weights, everywhere))
    code = (
        "import pathlib, sys, jax; from ttl_jax.weights import fingerprints, trained; "
        "modules, _ = trained.load(pathlib.Path(sys.argv[1])); "
        "print(jax.device_count(), fingerprints.digest(modules['encoder']))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path],
        cwd=pathlib.Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert jax.device_count() == 4
    assert result.stdout.split() == ["1", fingerprints.digest(weights["encoder"])]


def test_a_step_can_be_named(tmp_path, params):
    save(tmp_path, {"encoder": params}, step=1)
    save(tmp_path, {"encoder": jax.tree.map(jnp.add, params, params)}, step=2)
    named, _ = trained.load(tmp_path / saved_runs.FOLDER / "1")
    latest, _ = trained.load(tmp_path / saved_runs.FOLDER)
    assert named["encoder"]["a.kernel"][0, 0] == 1
    assert latest["encoder"]["a.kernel"][0, 0] == 2


def test_best_step_stays_beside_the_last_ones_and_can_be_named(tmp_path, params):
    saver = checkpoint.Checkpointer(tmp_path, keep=2)
    for step, best_step in ((1, None), (2, 2), (3, 2), (4, 2), (5, 2)):
        weights = {"encoder": {"a": jnp.full(2, step, float)}}
        best = best_step and {"step": best_step, "value": 0.5}
        saver.save(step, {"params": weights}, metadata.make(best=best))
    saver.close()
    assert saved_runs.saved_steps(tmp_path) == [2, 4, 5]
    for path, step in ((tmp_path, 5), (tmp_path / "best", 2)):
        modules, told = trained.load(path)
        assert told["step"] == modules["encoder"]["a"][0] == step
        assert saved_runs.run_folder(path) == tmp_path


def test_a_run_without_a_best_step_says_so(tmp_path, params):
    save(tmp_path, {"encoder": params})
    with pytest.raises(ValueError, match="no best step yet.*config.best_metric"):
        trained.load(tmp_path / "best")


@pytest.mark.parametrize("name", [saved_runs.FOLDER, "7", "best"])
def test_a_run_may_be_named_as_folders_of_checkpoints_are(tmp_path, params, name):
    save(tmp_path / name / "recog", {"encoder": params})
    save(tmp_path / name, {"encoder": params}, step=3)
    assert trained.load(tmp_path / name / "recog")[1]["step"] == 1
    assert trained.load(tmp_path / name)[1]["step"] == 3


def test_a_folder_without_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no checkpoint"):
        trained.load(tmp_path)
    (tmp_path / saved_runs.FOLDER).mkdir()
    with pytest.raises(ValueError, match="no complete checkpoint"):
        trained.load(tmp_path)
    assert not saved_runs.saved_steps(tmp_path)


def test_restoring_into_another_shape_is_rejected(tmp_path, params):
    save(tmp_path, {"encoder": params})
    saver = checkpoint.Checkpointer(tmp_path, keep=1)
    wider = {"encoder": {**params, "a.bias": jnp.zeros(4)}}
    with pytest.raises(ValueError, match=r"\(3,\) float32, wanted \(4,\)"):
        saver.restore(1, {"params": wider})
    saver.close()


def test_progress_is_the_last_saved_step_of_those_to_do(tmp_path):
    assert saved_runs.read_progress(tmp_path) == (0, None)
    saver = checkpoint.Checkpointer(tmp_path, keep=2)
    params = {"params": {"encoder": {"bias": np.zeros(2, np.float32)}}}
    for step in (3, 12):
        saver.save(step, params, metadata.make(config={"num_steps": 20}))
    saver.close()
    assert saved_runs.read_progress(tmp_path) == (12, 20)
