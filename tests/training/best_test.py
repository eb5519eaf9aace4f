"""The best step of a run: the rule, and runs that keep it."""

import math
import os

import jax
import numpy as np
import pytest

from tests.training import toy_stage
from tests.training.loop_test import Interruption, all_arrays, interrupt_at
from ttl_jax.training import best, metric_writer
from ttl_jax.weights import saved_runs, trained


def best_step(values, metric="pairs/psnr"):
    """The step whose evaluation is the best of several, as the loop goes through them."""
    found = None
    for step, value in enumerate(values, start=1):
        found = best.update(found, step, {"pairs/psnr": value}, metric)
    return found and found["step"]


@pytest.mark.parametrize(
    ("values", "most", "least"),
    [
        ([1.0, 3.0, 2.0], 2, 1),
        ([2.0, 2.0, 2.0], 1, 1),
        ([math.nan, 1.0, math.inf, 2.0], 4, 2),
        ([math.nan], None, None),
    ],
)
def test_the_first_of_equal_best_values_is_chosen(values, most, least):
    assert best_step(values) == most
    assert best_step(values, "-pairs/psnr") == least


def test_without_a_metric_nothing_is_best():
    assert best_step([1.0, 2.0], metric="") is None


@pytest.mark.parametrize("metric", ["pairs/psrn", "-pairs/psrn"])
def test_a_metric_that_no_evaluation_gives_is_named_with_the_known_ones(metric):
    known = ["pairs/psnr", "pairs/ssim"]
    fault = f"best_metric='{metric}'.*pairs/psnr, pairs/ssim; did you mean 'pairs/psnr'"
    with pytest.raises(ValueError, match=fault):
        best.check_metric(metric, known)
    for name in (*known, "-pairs/ssim"):
        best.check_metric(name, known)


def make_config(photographs, **changes):
    """A run whose metric rises, and then falls: its rate is far too high."""
    fields = {
        "num_steps": 8,
        "learning_rate": 0.1,
        "seed": 2,
        "eval_every": 1,
        "eval_clean": ("sample/test",),
        "checkpoint_every": 4,
        "keep_checkpoints": 1,
    }
    return toy_stage.get_config(photographs, **fields | changes)


@pytest.fixture
def config(photographs):
    return make_config(photographs)


def with_best(config):
    config.best_metric = "photographs/mean"
    return config


@pytest.fixture(scope="module")
def expected(photographs, tmp_path_factory):
    """The best step by the log of a run that keeps all steps, and its weights."""
    workdir = tmp_path_factory.mktemp("all")
    config = make_config(photographs, checkpoint_every=1, keep_checkpoints=8)
    toy_stage.train(config, workdir)
    run_dir = workdir / "toy"
    values = {
        row["step"]: row["photographs/mean"]
        for row in metric_writer.read(run_dir / metric_writer.FILE)
        if "photographs/mean" in row and row["step"] > 0
    }
    step = max(values, key=values.get)
    assert 1 < step < 8 and step != 4  # of no checkpoint that would be there anyway
    modules, _ = trained.load(run_dir / saved_runs.FOLDER / str(step))
    return step, values[step], modules


def assert_holds(run_dir, expected):
    step, value, modules = expected
    ours, metadata = trained.load(run_dir / "best")
    assert metadata["step"] == step
    assert metadata["best"] == {
        "metric": "photographs/mean", "step": step, "value": value
    }  # fmt: skip
    assert metadata["evaluation"]["photographs/mean"] == value
    jax.tree.map(np.testing.assert_array_equal, ours, modules)
    assert set(os.listdir(run_dir / saved_runs.FOLDER)) == {str(step), "8"}


def test_best_step_is_kept_beside_the_last_one(config, expected, tmp_path):
    toy_stage.train(with_best(config), tmp_path)
    assert_holds(tmp_path / "toy", expected)


# Each step places a batch for training and one for its evaluation.
@pytest.mark.parametrize("call", [9, 15])
def test_interrupted_run_keeps_the_best_step_of_an_undisturbed_one(
    call, config, expected, tmp_path, monkeypatch
):
    with monkeypatch.context() as context:
        interrupt_at(context, "place_batch", call)
        with pytest.raises(Interruption):
            toy_stage.train(with_best(config), tmp_path)
    toy_stage.train(with_best(config), tmp_path)
    assert_holds(tmp_path / "toy", expected)


def test_choosing_the_best_step_does_not_change_training(config, tmp_path):
    toy_stage.train(config, tmp_path / "without")
    toy_stage.train(with_best(config), tmp_path / "with")
    runs = [tmp_path / name / "toy" for name in ("without", "with")]
    without, chosen = (jax.tree.leaves(all_arrays(run)) for run in runs)
    assert len(without) == len(chosen) > 0
    assert all(map(np.array_equal, without, chosen))


def test_unknown_metric_and_no_evaluation_set_are_rejected_before_training(
    config, tmp_path
):
    config.best_metric = "photographs/psnr"
    with pytest.raises(ValueError, match="the evaluations have photographs/mean"):
        toy_stage.train(config, tmp_path)
    config.eval_clean = ()
    with pytest.raises(ValueError, match="have no metrics, since there are no sets"):
        toy_stage.train(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_photographs_that_are_trained_on_choose_no_best_step(config, tmp_path):
    config.eval_clean = config.clean
    with pytest.raises(
        ValueError, match="config.eval_clean: 4 photographs are also used"
    ):
        toy_stage.train(with_best(config), tmp_path)
    assert not list(tmp_path.iterdir())
