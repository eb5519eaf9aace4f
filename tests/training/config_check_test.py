"""Checks of a config, by itself and against a run that it resumes."""

import math
import re

import jax
import pytest

from configs import derain
from ttl_jax.training import config_check, sharding


@pytest.fixture
def config():
    return derain.get_config("smoke")


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("num_steps", 0, "num_steps=0 must be greater than zero"),
        ("learning_rate", -1.0, "learning_rate=-1.0 must be greater"),
        ("learning_rate", math.inf, "learning_rate=inf must be greater than zero, and"),
        ("learning_rate", math.nan, "learning_rate=nan must be greater"),
        ("ema_decay", 1.5, "ema_decay=1.5 is out of range; use 0 to 1."),
        ("final_fraction", -1.0, "final_fraction=-1.0 is out of range"),
        ("final_fraction", 50.0, "final_fraction=50.0 is out of range"),
        ("min_learning_rate", -1.0, "min_learning_rate=-1.0 must be at least 0"),
        ("crop_size", -5, "crop_size=-5 must be greater"),
        ("compute_dtype", "float16", "choose one of ('float32', 'bfloat16')"),
        ("cache_gib", -1.0, "cache_gib=-1.0 is out of range"),
        ("cache_gib", math.inf, "cache_gib=inf is out of range"),
        ("cache_gib", 1e300, "cache_gib=1e+300 is out of range; use 0 to 1048576"),
        ("seed", -1, "seed=-1 is out of range; use 0 to 2147483647"),
        ("seed", 2**32, "seed=4294967296 is out of range"),  # JAX takes it for 0
        ("run", "..", "run='..' must be the name of one folder in --workdir"),
        ("run", "a/b", "run='a/b' must be the name of one folder"),
        ("run", "a\0b", "must be the name of one folder"),
        ("num_workers", -1, "num_workers=-1 must be at least 0"),
        ("exclude", (5,), "exclude=(5,) must be paths of text files"),
        ("schedule", "step", "choose one of ('plateau', 'cosine', 'constant')"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(config, field, value, fault):
    config[field] = value
    with pytest.raises(ValueError, match=re.escape(fault)):
        config_check.check(config)


@pytest.mark.parametrize("value", ["sample", (5,), 3])
def test_sources_that_are_no_tuple_of_names_are_rejected(config, value):
    with config.ignore_type():
        config.pairs = value
    with pytest.raises(ValueError, match="config.pairs=.* must be names of sources"):
        config_check.check(config)


def test_a_batch_that_does_not_divide_over_the_devices_is_rejected(config):
    mesh = sharding.make_mesh()
    assert mesh.size == jax.device_count() == 4
    config.batch_size = 6
    with pytest.raises(ValueError, match="batch_size=6 does not divide over 4 devices"):
        config_check.check_batches(config, mesh)
    config.batch_size = 8
    config_check.check_batches(config, mesh)
    config.num_micro_batches = 4
    with pytest.raises(ValueError, match="choose a multiple of 16"):
        config_check.check_batches(config, mesh)


def test_choosing_the_best_step_neither_begins_nor_ends_within_a_run(config):
    without = config_check.as_json(config)
    fault = "best_metric was 'pairs/psnr', is ''"
    with pytest.raises(ValueError, match=fault):  # it would remove the best step
        config_check.check_unchanged(
            config, without | {"best_metric": "pairs/psnr"}, run="run"
        )
    config.best_metric = "pairs/psnr"
    with pytest.raises(ValueError, match="best_metric was '', is 'pairs/psnr'"):
        config_check.check_unchanged(config, without, run="run")


@pytest.mark.parametrize(
    ("step", "num_steps", "fault"),
    [
        (4, 8, "ended at step 4 with start_share=0.5"),
        (3, 3, "at step 3: with num_steps=3 no update is left.* num_steps above 3"),
        (3, 2, "at step 3: with num_steps=2 no update is left"),
        (4, 4, None),
        (4, 2, None),
        (3, 4, None),
    ],
)
def test_the_mean_with_the_initial_weights_is_taken_exactly_once(
    config, step, num_steps, fault
):
    config.start_share = 0.5
    config.num_steps = 4
    saved = config_check.as_json(config)
    config.num_steps = num_steps
    if fault is None:
        config_check.check_start_share(config, step, saved, run="r")
    else:
        with pytest.raises(ValueError, match=fault):
            config_check.check_start_share(config, step, saved, run="r")
    config.start_share = 0.0
    config_check.check_start_share(config, step, saved, run="r")


@pytest.mark.parametrize(
    "field", ["eval_rainy", "eval_clean", "eval_pairs", "eval_batch_size", "num_eval"]
)
def test_what_is_evaluated_may_change_unless_it_chooses_the_best_step(config, field):
    def change(config):
        value = config[field]
        config[field] = (*value, "x") if isinstance(value, tuple) else value + 1
        return config

    saved = config_check.as_json(config)
    config_check.check_unchanged(change(config), saved, run="runs/derain")
    config.best_metric = "pairs/psnr"
    saved = config_check.as_json(config)
    with pytest.raises(ValueError, match=f"{field} was "):
        config_check.check_unchanged(change(config), saved, run="runs/derain")


def test_only_safe_fields_may_change_when_a_run_goes_on(config):
    saved = config_check.as_json(config)
    config.num_steps += 1
    config.log_every = 7
    config.cache_gib, config.num_workers, config.max_replaced = 0.5, 2, 0.1
    config.encoder.remat = True
    config_check.check_unchanged(config, saved, run="runs/derain")
    config.learning_rate = 0.5
    config.encoder.width = 32
    with pytest.raises(ValueError, match="runs/derain cannot resume") as error:
        config_check.check_unchanged(config, saved, run="runs/derain")
    assert "encoder.width was 16, is 32" in str(error.value)
    assert "learning_rate was 0.001, is 0.5" in str(error.value)


def test_added_and_removed_images_are_named():
    with pytest.raises(ValueError, match="new: c 3; gone: b 2"):
        config_check.check_same_listing(["a 1", "c 3"], ["a 1", "b 2"], run="r")
    with pytest.raises(ValueError, match="order"):
        config_check.check_same_listing(["a", "b"], ["b", "a"], run="r")
    config_check.check_same_listing(["a", "b"], ["a", "b"], run="r")


def test_a_teacher_trained_again_is_named():
    old = {"recog_encoder": {"run": "recog", "step": 5, "digest": "aa"}}
    new = {"recog_encoder": {"run": "recog", "step": 5, "digest": "bb"}}
    with pytest.raises(ValueError, match="recog_encoder came from"):
        config_check.check_same_origins(new, old, run="r")
    config_check.check_same_origins(old, old, run="r")


def test_a_new_field_counts_as_unchanged_if_it_is_off(config):
    saved = config_check.as_json(config)
    del saved["num_pairs"]
    config_check.check_unchanged(config, saved | {"gone": ""}, run="runs/recog")
    with pytest.raises(ValueError, match="gone was 'on', is None"):
        config_check.check_unchanged(config, saved | {"gone": "on"}, run="runs/recog")
    config.num_pairs = 3
    with pytest.raises(ValueError, match="num_pairs was None, is 3"):
        config_check.check_unchanged(config, saved, run="runs/recog")


def test_a_crop_that_cannot_fit_into_memory_is_rejected_with_the_largest(config):
    mesh = sharding.make_mesh()
    config_check.check_memory(config, mesh)
    config.crop_size = 100_000
    with pytest.raises(
        ValueError, match="use crops of at most [0-9]+ pixels"
    ) as caught:
        config_check.check_memory(config, mesh)
    most = int(re.search(r"at most (\d+) pixels", str(caught.value))[1])
    config.crop_size = most
    config_check.check_memory(config, mesh)
    config.crop_size = 2 * most
    config.num_micro_batches = 4  # a quarter of the images at once
    config_check.check_memory(config, mesh)


@pytest.mark.parametrize(
    "sizes",
    [
        {"crop_mix": ((16, 0.9), (100_000, 0.1))},
        {"crop_sizes": ((0, 16), (500, 100_000))},
    ],
)
def test_the_largest_crop_of_all_has_to_fit_into_memory(config, sizes):
    config.update(sizes)
    with pytest.raises(
        ValueError, match="Crops of 100000 pixels .* use crops of at most"
    ):
        config_check.check_memory(config, sharding.make_mesh())


def test_a_size_for_evaluation_alone_needs_no_memory_of_training(config):
    config.update(crop_size=100_000, crop_mix=((16, 1.0),))
    config_check.check_memory(config, sharding.make_mesh())
