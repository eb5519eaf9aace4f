"""A run is prepared once, and returns the trained modules."""

import json
import logging as std_logging
import re
import shutil
from typing import Any

import jax
import numpy as np
import pytest
from absl import logging
from ml_collections import ConfigDict

from configs import four_stages
from tests.training import toy_stage
from tests.training.loop_test import Interruption, interrupt_at
from ttl_jax.data.loading import pipeline
from ttl_jax.training import metric_writer, run, run_log, runs
from ttl_jax.weights import saved_runs, trained


def test_a_run_makes_its_stage_and_opens_its_images_once(
    photographs, tmp_path, monkeypatch
):
    calls = []

    def count(module, name):
        function = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a: calls.append(name) or function(*a))

    count(run, "make_stage")
    count(pipeline, "open_training_data")
    count(pipeline, "open_evaluation_data")
    first = runs.train(toy_stage.get_config(photographs), tmp_path)
    expected = ["make_stage", "open_training_data", "open_evaluation_data"]
    assert calls == expected
    again = runs.train(toy_stage.get_config(photographs), tmp_path)  # it is finished
    assert calls == [*expected, "make_stage"]
    assert again[0].evaluation == first[0].evaluation


def test_trained_modules_have_the_saved_weights(photographs, tmp_path, key):
    (finished,) = runs.train(toy_stage.get_config(photographs), tmp_path)
    assert finished.directory == tmp_path / "toy"
    assert set(finished.evaluation) == {"photographs/mean"}
    image = jax.random.uniform(key, (2, 4, 4, 3))
    weights = trained.load(tmp_path / "toy")[0]["encoder"]
    expected = np.asarray(image) @ weights["linear.kernel"] + weights["linear.bias"]
    modules = finished.modules
    assert set(modules) == {"encoder"}
    np.testing.assert_allclose(
        modules["encoder"](image), expected, rtol=1e-5, atol=1e-6
    )


def test_a_run_opens_before_the_earlier_run_it_starts_from_is_trained(
    photographs, tmp_path
):
    config = toy_stage.get_config(photographs, frozen_teacher=True)
    with pytest.raises(ValueError, match="starts from 'teacher'"):
        run.open_run(config, tmp_path)
    teacher = toy_stage.get_config(photographs, run="teacher")
    earlier = run.open_run(teacher, tmp_path)
    later = run.open_run(config, tmp_path, earlier=[earlier])
    assert not list(tmp_path.iterdir())
    toy_stage.train(teacher, tmp_path)
    later.train()
    assert saved_runs.saved_steps(tmp_path / "toy")[-1] == 6


def train_both(photographs, workdir, *, teacher=2, student=2):
    """Trains a teacher and then a student from it, each to a number of steps."""
    config: Any = ConfigDict()
    config.stages = ("teacher", "student")
    for name in config.stages:
        config[name] = toy_stage.get_config(
            photographs, run=name, schedule="constant", num_steps=2
        )
    config.teacher.num_steps, config.student.num_steps = teacher, student
    config.student.start_from = "teacher"
    return runs.train(config, workdir)


def steps_of(workdir):
    return {run.name: saved_runs.saved_steps(run)[-1] for run in workdir.iterdir()}


def test_a_run_from_which_a_saved_run_started_is_not_trained_further(
    photographs, tmp_path
):
    train_both(photographs, tmp_path)
    fault = r"student started from .*teacher, .* from step 2 to 4\. .* num_steps=2"
    for student in (2, 4):
        with pytest.raises(ValueError, match=fault):
            train_both(photographs, tmp_path, teacher=4, student=student)
    assert steps_of(tmp_path) == {"teacher": 2, "student": 2}
    train_both(photographs, tmp_path, student=4)
    assert steps_of(tmp_path) == {"teacher": 2, "student": 4}


def test_a_command_stopped_between_two_runs_trains_the_second(photographs, tmp_path):
    teacher = toy_stage.get_config(
        photographs, run="teacher", schedule="constant", num_steps=2
    )
    toy_stage.train(teacher, tmp_path)
    train_both(photographs, tmp_path)
    assert steps_of(tmp_path) == {"teacher": 2, "student": 2}


def test_a_changed_origin_is_named_before_another_run_is_trained(photographs, tmp_path):
    train_both(photographs, tmp_path)
    shutil.rmtree(tmp_path / "teacher")
    changed = toy_stage.get_config(
        photographs, run="teacher", schedule="constant", num_steps=2, learning_rate=0.5
    )
    toy_stage.train(changed, tmp_path)
    config: Any = ConfigDict({"stages": ("between", "student")})
    config.between = toy_stage.get_config(photographs, run="between")
    config.student = toy_stage.get_config(
        photographs, run="student", schedule="constant", num_steps=4,
        start_from="teacher",
    )  # fmt: skip
    with pytest.raises(ValueError, match="student cannot resume: an earlier run"):
        runs.train(config, tmp_path)
    assert steps_of(tmp_path) == {"teacher": 2, "student": 2}


def test_a_finished_run_needs_its_origin_no_more(photographs, tmp_path):
    first = train_both(photographs, tmp_path)[1]
    shutil.rmtree(tmp_path / "teacher")
    config = toy_stage.get_config(
        photographs, run="student", schedule="constant", num_steps=2,
        start_from="teacher",
    )  # fmt: skip
    assert toy_stage.train(config, tmp_path) == first.evaluation
    config.num_steps = 4
    with pytest.raises(ValueError, match="starts from 'teacher', but there is no such"):
        toy_stage.train(config, tmp_path)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"decoder.local_kernel": 4},
            r"^config.decoder: the module 'decoder' of stage 'derain' .* must be odd",
        ),
        (
            {"encoder.num_blocks": 0},
            "^config.encoder: .* num_blocks=0 must be at least",
        ),
        ({"encoder.stem_stride": 0}, "stem_stride=0 must be at least 1"),
        (
            {"distill.encoder.head_width": 5},
            "^config.encoder: the module 'encoder' of stage 'distill' .* multiple of",
        ),
        (
            {"recon.encoder.width": 32},
            "encoder of run 'recon' .* than 'recon_encoder' .* width was 32, is 16",
        ),
        (
            {"recog.decoder.pools": (2,)},
            r"decoder of run 'recog' .* than 'recog_decoder' .* was \[2\], is \[4, 2\]",
        ),
        (
            {"derain.student_run": "distill/best"},
            "starts from 'distill/best', which the run 'distill' .* field best_metric",
        ),
        (
            {"derain.student_run": "distill/checkpoints/77"},
            "'distill/checkpoints/77', which the run 'distill' .* will not have",
        ),
    ],
)
def test_a_network_that_a_later_stage_cannot_use_is_named_before_anything_is_trained(
    fields, fault, tmp_path
):
    config = four_stages.get_config("smoke")
    config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=fault):
        runs.train(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_existing_run_of_another_network_is_named_before_anything_is_trained(
    photographs, tmp_path
):
    first = {"run": "wide", "hidden": 5, "num_steps": 2}
    toy_stage.train(toy_stage.get_config(photographs, **first), tmp_path)
    config: Any = ConfigDict({"stages": ("before", "student")})
    config.before = toy_stage.get_config(photographs, run="before")
    config.student = toy_stage.get_config(photographs, run="student", start_from="wide")
    with pytest.raises(ValueError, match="run 'wide' is a different .* was 5, is 0"):
        runs.train(config, tmp_path)
    config.student.update(start_from="wide/best", hidden=5)
    with pytest.raises(ValueError, match="no best step yet"):
        runs.train(config, tmp_path)
    assert steps_of(tmp_path) == {"wide": 2}


@pytest.fixture
def log(caplog, monkeypatch):
    """What the project logs from now on."""
    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)
    return caplog


def test_more_steps_of_a_cosine_run_warn_once_of_the_jump_to_the_rates_that_follow(
    photographs, tmp_path, log
):
    def train(num_steps):
        config = toy_stage.get_config(
            photographs, schedule="cosine", num_steps=num_steps
        )
        toy_stage.train(config, tmp_path)

    train(6)
    assert "jump" not in log.text
    train(12)
    rows = metric_writer.read(tmp_path / "toy" / metric_writer.FILE)
    rates = {
        row["step"]: row["learning_rate/encoder"] for row in rows if "train/loss" in row
    }
    (shown,) = re.findall(
        r"jump: encoder from (\S+) to (\S+)\.$", log.text, re.MULTILINE
    )
    assert rates[7] > 2 * rates[6]
    np.testing.assert_allclose([*map(float, shown)], [rates[6], rates[7]], rtol=0.01)


def test_a_run_ended_by_fewer_steps_names_the_step_of_its_evaluation(
    photographs, tmp_path, log, verbose, monkeypatch
):
    config = toy_stage.get_config(
        photographs, schedule="constant", num_steps=8, eval_every=3, checkpoint_every=4
    )
    with monkeypatch.context() as context:
        interrupt_at(context, "place_batch", 10)  # after step 4 is saved
        with pytest.raises(Interruption):
            toy_stage.train(config, tmp_path)
    config.num_steps = 4
    evaluation = toy_stage.train(config, tmp_path)
    mean = evaluation["photographs/mean"]
    assert f"toy, step 3: photographs/mean {mean:.4g}" in log.text


@pytest.mark.parametrize(("warmup_steps", "is_long"), [(6, True), (5, False)])
def test_a_warmup_that_does_not_end_is_warned_of_once(
    warmup_steps, is_long, photographs, tmp_path, log
):
    config = toy_stage.get_config(
        photographs, schedule="cosine", warmup_steps=warmup_steps
    )
    toy_stage.train(config, tmp_path)
    warned = [r.message for r in log.records if r.levelname == "WARNING"]
    assert len(warned) == is_long
    message = "config.warmup_steps=6 is not below config.num_steps=6, so the learning"
    assert not is_long or message in warned[0]


@pytest.fixture
def verbose():
    """The verbosity of the command."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    yield
    logging.set_verbosity(before)


def test_the_log_in_the_folder_has_totals_progress_and_what_comes_next(
    photographs, tmp_path, verbose
):
    path = tmp_path / "toy" / run_log.FILE

    def train(**changes):
        earlier = path.read_text() if path.exists() else ""
        config = toy_stage.get_config(photographs, schedule="constant", **changes)
        runs.train(config, tmp_path)
        whole = path.read_text()
        assert whole.startswith(earlier)
        return whole.removeprefix(earlier)

    first = train()
    assert "toy: stage tests.training.toy_stage" in first
    assert "4 clean to train on, 4 photographs to evaluate on" in first
    assert "6 updates of 4 images; 12 params learn" in first  # 3 x 3 and a bias of 3
    assert re.search(r"step 5: .*  \d+:\d\d:\d\d left$", first, re.MULTILINE)
    assert first.endswith(f"The results are in {tmp_path / 'toy'}\n")
    again = train(num_steps=8)
    assert f"{tmp_path / 'toy'} resumes at step 6" in again
    assert "step 6: " not in again and "step 7: " in again
    assert not train(num_steps=8)  # it is finished
    config = toy_stage.get_config(photographs, run="bad", bad_steps=(1,))
    with pytest.raises(FloatingPointError):
        runs.train(config, tmp_path)
    failed = (tmp_path / "bad" / run_log.FILE).read_text()
    assert re.search(r"ERROR .* step 1 is not finite", failed)
    assert not logging.get_absl_logger().handlers


def test_more_steps_of_a_constant_rate_are_no_jump_and_the_saved_config_has_them(
    photographs, tmp_path, log
):
    for num_steps in (2, 4):
        config = toy_stage.get_config(
            photographs, schedule="constant", num_steps=num_steps
        )
        toy_stage.train(config, tmp_path)
        saved = json.loads((tmp_path / "toy" / run.CONFIG).read_text())
        assert saved == trained.load(tmp_path / "toy")[1]["config"]
        assert saved["num_steps"] == num_steps
    assert "jump" not in log.text


@pytest.mark.parametrize(
    ("path", "is_shown"),
    [
        ("/src/optax-study/ttl_jax/training/run.py", True),
        ("/lib/site-packages/optax/_src/base.py", False),
        ("/lib/site-packages/jax/_src/xla_bridge.py", False),
    ],
)
def test_the_log_has_records_of_this_project_whatever_its_folder(path, is_shown):
    record = std_logging.LogRecord("absl", std_logging.INFO, path, 1, "text", (), None)
    assert run_log.is_shown(record) == is_shown
