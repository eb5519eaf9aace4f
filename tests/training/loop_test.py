"""The loop: runs interrupted and resumed, refused, stopped by non-finite values."""

import dataclasses
import functools
import json

import jax
import numpy as np
import optax
import pytest
from PIL import Image

from tests.training import toy_stage
from ttl_jax.data.loading import pipeline
from ttl_jax.training import loop, metric_writer, sharding, train_log
from ttl_jax.weights import checkpoint, saved_runs, trained


def all_arrays(run_dir):
    """Every array of the last checkpoint, params, average and optimizer state."""
    manager = checkpoint.Checkpointer(run_dir, keep=2)
    step = manager.latest_step()
    templates = {
        item: jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape,
                leaf.dtype,
                sharding=sharding.replicated(sharding.make_mesh()),
            ),
            manager._manager.item_metadata(step)[item],
        )
        for item in ("params", "ema", "progress")
    }
    items = manager.restore(step, templates)
    manager.close()
    return step, jax.tree.map(np.asarray, items)


def rows_of(run_dir):
    """Logged rows without values that depend on the clock."""
    rows = metric_writer.read(run_dir / metric_writer.FILE)
    varying = {"images_per_second", "peak_memory_mib"}
    return [{k: v for k, v in row.items() if k not in varying} for row in rows]


class Interruption(Exception):
    pass


def interrupt_at(monkeypatch, function_name, call):
    """Makes the nth call of a function of `sharding` raise."""
    function, calls = getattr(sharding, function_name), [0]

    def interrupted(*args, **kwargs):
        calls[0] += 1
        if calls[0] == call:
            raise Interruption
        return function(*args, **kwargs)

    monkeypatch.setattr(sharding, function_name, interrupted)


@pytest.fixture(scope="module")
def undisturbed(photographs, tmp_path_factory):
    """Trains the toy stage with changed fields, once; returns the run's folder."""

    @functools.cache
    def train(**changes):
        workdir = tmp_path_factory.mktemp("undisturbed")
        toy_stage.train(toy_stage.get_config(photographs, **changes), workdir)
        return workdir / "toy"

    return train


def train_with_interruption(config, workdir, monkeypatch, call):
    """Trains a run that ends as it places a batch, and then goes on."""
    with monkeypatch.context() as context:
        interrupt_at(context, "place_batch", call)
        with pytest.raises(Interruption):
            toy_stage.train(config, workdir)
    toy_stage.train(config, workdir)
    return workdir / "toy"


def assert_same_run(one, other, num_steps=6):
    """Checks for equal arrays, metadata and logged numbers, bit by bit."""
    (step, ours), (other_step, theirs) = map(all_arrays, (one, other))
    assert step == other_step == num_steps
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert trained.load(one)[1] == trained.load(other)[1]
    assert rows_of(one) == rows_of(other)


# Batches are placed for the first evaluation (1), steps 1-3 before step 1 (2-4), step 4
# before step 2 (5), step 5 before step 3 (6), the next evaluation (7), and so on.
@pytest.mark.parametrize(
    ("call", "mix"),
    [(5, ()), (7, ()), (10, ((8, 0.5), (12, 0.5)))],
)
def test_interrupted_run_ends_with_exactly_the_state_of_an_undisturbed_one(
    call, mix, undisturbed, photographs, tmp_path, monkeypatch
):
    config = toy_stage.get_config(photographs, crop_mix=mix)
    run_dir = train_with_interruption(config, tmp_path, monkeypatch, call)
    assert_same_run(run_dir, undisturbed(crop_mix=mix))


def test_reading_ends_with_the_run(photographs, tmp_path, monkeypatch):
    batches, ended = pipeline.TrainingData.batches, []

    def watched(*args):
        try:
            yield from batches(*args)
        finally:
            ended.append(True)

    monkeypatch.setattr(pipeline.TrainingData, "batches", watched)
    interrupt_at(monkeypatch, "place_batch", 3)
    with pytest.raises(Interruption) as raised:
        toy_stage.train(toy_stage.get_config(photographs), tmp_path)
    assert raised.tb and ended  # though its frames still hold the batches


def test_resumed_run_goes_on_at_its_checkpoint(photographs, tmp_path, monkeypatch):
    config = toy_stage.get_config(photographs)
    with monkeypatch.context() as context:
        interrupt_at(context, "place_batch", 10)  # before step 6; step 4 is saved
        with pytest.raises(Interruption):
            toy_stage.train(config, tmp_path)
    placed = []
    place = sharding.place_batch
    monkeypatch.setattr(
        sharding, "place_batch", lambda *a: placed.append(1) or place(*a)
    )
    toy_stage.train(config, tmp_path)
    assert len(placed) == 2 + 2 + 1  # two steps, two batches ahead, and an evaluation


def test_more_steps_go_on_from_the_end(photographs, tmp_path):
    config = toy_stage.get_config(photographs, schedule="constant")
    for config.num_steps, name in ((6, "in parts"), (8, "in parts"), (8, "at once")):
        toy_stage.train(config, tmp_path / name)
    runs = [all_arrays(tmp_path / name / "toy") for name in ("in parts", "at once")]
    assert runs[0][0] == runs[1][0] == 8
    jax.tree.map(np.testing.assert_array_equal, *runs)


def test_training_learns(photographs, tmp_path):
    config = toy_stage.get_config(
        photographs,
        num_steps=100,
        learning_rate=0.02,
        schedule="constant",
        log_every=20,
        eval_every=100,
        checkpoint_every=100,
    )
    toy_stage.train(config, tmp_path)
    rows = rows_of(tmp_path / "toy")
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < losses[0] / 5


@pytest.mark.parametrize("changes", [{}, {"ema_decay": 0.9}, {"fsdp": True}])
def test_final_weights_are_a_mean_with_the_initial_ones(photographs, tmp_path, changes):
    def train(run, **fields):
        toy_stage.train(toy_stage.get_config(photographs, run=run, **fields), tmp_path)
        return trained.load(tmp_path / run)[0]["encoder"]

    start = train("start", num_steps=2, seed=1, hidden=64)
    fields = {"start_from": "start", "ema_decay": 0.0, "hidden": 64, **changes}
    end = train("tuned", **fields)
    mean = train("mean", **fields, start_share=0.25)
    for name, values in mean.items():
        assert np.abs(end[name] - start[name]).max() > 1e-3
        expected = 0.75 * np.asarray(end[name]) + 0.25 * np.asarray(start[name])
        np.testing.assert_allclose(values, expected, atol=1e-6)


def test_a_mean_with_the_initial_weights_is_taken_once(photographs, tmp_path):
    def train(run, **fields):
        fields = {"run": run, "hidden": 64, **fields}
        toy_stage.train(toy_stage.get_config(photographs, **fields), tmp_path)

    train("start", num_steps=2, seed=1)
    fields = {"start_from": "start", "start_share": 0.25}
    train("mean", num_steps=2, **fields)
    train("mean", num_steps=2, **fields)  # finished: nothing to do
    with pytest.raises(ValueError, match="ended at step 2 .* num_steps=4"):
        train("mean", num_steps=4, **fields)
    with pytest.raises(ValueError, match="start_share was 0.25, is 0.5"):
        train("mean", num_steps=2, start_from="start", start_share=0.5)


def test_a_share_of_random_initial_weights_is_refused(photographs, tmp_path):
    config = toy_stage.get_config(photographs, start_share=0.5)
    with pytest.raises(ValueError, match=r"start_share=0.5 .*\['encoder'\].* random"):
        toy_stage.train(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_best_step_without_the_mean_with_the_initial_weights_is_refused(
    photographs, tmp_path
):
    config = toy_stage.get_config(
        photographs, start_share=0.5, start_from="start", best_metric="photographs/mean"
    )
    fault = "best_metric='photographs/mean' .* set best_metric='' or start_share=0.0"
    with pytest.raises(ValueError, match=fault):
        toy_stage.train(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_changed_images_and_fields_are_named(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(3):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(folder / f"{i}.png")
    toy_stage.train(toy_stage.get_config(folder), tmp_path)
    config = toy_stage.get_config(folder, num_steps=8, learning_rate=0.5)
    with pytest.raises(ValueError, match="learning_rate was 0.001, is 0.5"):
        toy_stage.train(config, tmp_path)
    Image.new("RGB", (20, 20)).save(folder / "added.png")
    with pytest.raises(ValueError, match="new: clean .*added.png"):
        toy_stage.train(toy_stage.get_config(folder, num_steps=8), tmp_path)


def test_frozen_teacher_is_not_saved_and_trained_again_it_stops_the_run(
    photographs, tmp_path
):
    teacher = toy_stage.get_config(photographs, run="teacher")
    toy_stage.train(teacher, tmp_path)
    config = toy_stage.get_config(photographs, frozen_teacher=True)
    toy_stage.train(config, tmp_path)
    leaves = jax.tree_util.tree_leaves_with_path(all_arrays(tmp_path / "toy")[1])
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    assert any("encoder" in name for name in names)
    assert not any("teacher" in name for name in names)
    teacher.num_steps = 8
    toy_stage.train(teacher, tmp_path)
    for config.num_steps in (6, 8):  # a finished run, and one to resume
        fault = "teacher came from .*'step': 6.*'step': 8"
        with pytest.raises(ValueError, match=fault):
            toy_stage.train(config, tmp_path)


def test_teacher_of_another_function_with_the_same_shapes_is_rejected(
    photographs, tmp_path
):
    teacher = toy_stage.get_config(photographs, run="teacher", brightness=1.0)
    toy_stage.train(teacher, tmp_path)
    config = toy_stage.get_config(photographs, frozen_teacher=True, brightness=2.0)
    with pytest.raises(ValueError, match="brightness was 1.0, is 2.0"):
        toy_stage.train(config, tmp_path)


def test_missing_teacher_is_named_with_its_command_before_images_are_read(tmp_path):
    config = toy_stage.get_config("nowhere", frozen_teacher=True)
    with pytest.raises(ValueError, match="starts from 'teacher'") as error:
        toy_stage.train(config, tmp_path)
    assert toy_stage.SOURCE.command in str(error.value)


def test_value_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    photographs, tmp_path
):
    config = toy_stage.get_config(photographs, num_steps=2, clip_norm=0.0)
    toy_stage.train(config, tmp_path)
    before = all_arrays(tmp_path / "toy")
    # Metadata of a run that would overflow, put beside weights that are still finite.
    for path in (tmp_path / "toy" / saved_runs.FOLDER).rglob("metadata"):
        if path.is_file():
            saved = json.loads(path.read_text())
            saved["config"]["learning_rate"] = 1e30
            path.write_text(json.dumps(saved))
    config = toy_stage.get_config(
        photographs, num_steps=8, clip_norm=0.0, learning_rate=1e30
    )
    with pytest.raises(FloatingPointError, match="step 3 is not finite") as error:
        toy_stage.train(config, tmp_path)
    assert ".png" in str(error.value)
    step, arrays = all_arrays(tmp_path / "toy")
    assert step == 2
    jax.tree.map(np.testing.assert_array_equal, arrays, before[1])


@pytest.mark.parametrize(
    ("scalars", "told"),
    [
        (
            {"loss": 1.5, "grad_norm": np.inf},
            "only the gradient; loss 1.5, grad_norm inf",
        ),
        (
            {"sobel": np.nan, "l2": 0.5, "loss": np.nan, "replaced_images": 0.0},
            "sobel and loss; sobel nan, l2 0.5, loss nan",
        ),
    ],
)
def test_terms_that_are_not_finite_are_named_before_the_values_of_all(scalars, told):
    assert train_log.explain(scalars) == told


def doing_nothing_at(step, monkeypatch):
    """Makes the train step of later runs pass over a batch, on the host."""
    make = loop.make_computation

    def make_with_gap(*args):
        computation, state = make(*args)

        def train_step(state, frozen, batch):
            if int(state.step) != step:
                return computation.train_step(state, frozen, batch)
            steps = optax.ScaleByScheduleState
            opt_state = jax.tree.map(
                lambda node: steps(node.count + 1) if type(node) is steps else node,
                state.opt_state,
                is_leaf=lambda node: type(node) is steps,
            )
            state = dataclasses.replace(state, step=state.step + 1, opt_state=opt_state)
            return state, dict.fromkeys(("loss", "grad_norm", "replaced_images"), 0.0)

        return dataclasses.replace(computation, train_step=train_step), state

    monkeypatch.setattr(loop, "make_computation", make_with_gap)


@pytest.fixture(scope="module")
def with_gap(photographs, tmp_path_factory):
    """Trains with a schedule, once, where the update of step 3 does nothing."""

    @functools.cache
    def train(schedule):
        workdir = tmp_path_factory.mktemp("gap")
        config = toy_stage.get_config(photographs, schedule=schedule, num_steps=8)
        with pytest.MonkeyPatch.context() as context:
            doing_nothing_at(3, context)
            toy_stage.train(config, workdir)
        return workdir / "toy"

    return train


# The bad step is noticed at once, or at the end.
@pytest.mark.parametrize(("schedule", "every"), [("cosine", 50), ("plateau", 1)])
def test_skipped_batch_is_as_if_its_update_had_done_nothing(
    schedule, every, with_gap, photographs, tmp_path
):
    config = toy_stage.get_config(photographs, schedule=schedule, num_steps=8)
    config.update(bad_steps=(3,), skip_bad_batches=1)
    config.update(log_every=every, eval_every=every, checkpoint_every=every)
    toy_stage.train(config, tmp_path)
    run_dir = tmp_path / "toy"
    (step, ours), (other_step, theirs) = map(all_arrays, (run_dir, with_gap(schedule)))
    assert step == other_step == 8
    assert ours["progress"].pop("bad_step") == 3
    assert theirs["progress"].pop("bad_step") == -1
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert trained.load(run_dir)[1]["skipped_steps"] == [3]
    (row,) = (row for row in rows_of(run_dir) if "train/skipped_steps" in row)
    assert (row["step"], row["train/skipped_steps"]) == (4 if every == 1 else 8, 1)
    # Means are of those that were trained on, if any was.
    assert np.isfinite(row["train/loss"]) if every == 50 else "train/loss" not in row


def test_run_that_skips_batches_ends_alike_where_it_was_interrupted(
    undisturbed, photographs, tmp_path, monkeypatch
):
    fields = {"bad_steps": (2, 4), "skip_bad_batches": 2}
    config = toy_stage.get_config(photographs, **fields)
    run_dir = train_with_interruption(config, tmp_path, monkeypatch, call=8)
    assert_same_run(run_dir, undisturbed(**fields))
    assert trained.load(run_dir)[1]["skipped_steps"] == [2, 4]


def test_batches_skipped_before_an_interruption_count(
    photographs, tmp_path, monkeypatch
):
    config = toy_stage.get_config(photographs, bad_steps=(1, 4), skip_bad_batches=1)
    with monkeypatch.context() as context:
        interrupt_at(context, "place_batch", 7)  # step 2 is saved
        with pytest.raises(Interruption):
            toy_stage.train(config, tmp_path)
    fault = (
        r"step 4 is not finite \(fault and loss; distance 0.*fault nan.*\). Its images"
    )
    with pytest.raises(FloatingPointError, match=fault) as error:
        toy_stage.train(config, tmp_path)
    assert "Steps [1] were skipped before." in str(error.value)
    assert "--config.skip_bad_batches=11" in str(error.value)
    assert saved_runs.saved_steps(tmp_path / "toy") == [2, 4]
    config.skip_bad_batches = 2
    toy_stage.train(config, tmp_path)
    metadata = trained.load(tmp_path / "toy")[1]
    assert metadata["skipped_steps"] == [1, 4]


@pytest.fixture
def fragile(tmp_path):
    """A config on a folder of five photographs, one of which vanishes after a check."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for i in range(5):
        Image.new("RGB", (20, 20), (50 * i, 0, 0)).save(folder / f"{i}.png")
    config = toy_stage.get_config(folder, num_steps=10, log_every=5, batch_size=4)
    config.eval_clean = ("sample/test",)
    return config


def break_after_opening(monkeypatch, path):
    opening = pipeline.open_training_data

    def open_and_break(*args):
        data = opening(*args)
        path.unlink()
        return data

    monkeypatch.setattr(pipeline, "open_training_data", open_and_break)


def test_share_of_replaced_images_is_logged(fragile, tmp_path, monkeypatch):
    break_after_opening(monkeypatch, tmp_path / "photographs" / "3.png")
    fragile.max_replaced = 0.5
    toy_stage.train(fragile, tmp_path)
    rows = rows_of(tmp_path / "toy")
    shares = [row[key] for row in rows if (key := "train/replaced_images") in row]
    assert shares == pytest.approx([0.2, 0.2])  # each epoch has one of five


def test_too_many_replaced_images_stop_the_run_and_are_named(
    fragile, tmp_path, monkeypatch
):
    break_after_opening(monkeypatch, tmp_path / "photographs" / "3.png")
    fragile.max_replaced = 0.1
    with pytest.raises(ValueError, match=r"20.0% of the images can no") as error:
        toy_stage.train(fragile, tmp_path)
    assert "photographs/3.png cannot be read: No such file" in str(error.value)
    assert "--config.max_replaced=0.1" in str(error.value)
    assert rows_of(tmp_path / "toy")[-1]["step"] == 5  # was written before


def test_replaced_images_count_since_the_start_of_the_process():
    log = train_log.TrainLog(first_step=0, batch_size=8, epoch_steps=4)
    for shares, mean in (((1.0, 0.0), 0.25), ((0.0,) * 6, 0.125), ((1.0, 1.0), 0.3)):
        for share in shares:
            log.add({"replaced_images": share, "loss": 0.0, "grad_norm": 0.0})
        log.summary()
        assert log.replaced_share == pytest.approx(mean)
