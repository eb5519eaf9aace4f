"""Trains any stage: `train(config, workdir)` is the whole run, top to bottom."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tqdm
from absl import logging
from jax.sharding import Mesh

from ttl_jax import atomic_files
from ttl_jax.data.loading import pipeline
from ttl_jax.stages.stage import Stage, make_stage
from ttl_jax.training import (
    best,
    config_check,
    optimizer,
    samples,
    sharding,
    stopping,
    train_log,
)
from ttl_jax.training import state as train_state
from ttl_jax.training.metric_writer import MetricWriter
from ttl_jax.training.step import make_eval_step, make_train_step, metric_names
from ttl_jax.training.train_log import TrainLog
from ttl_jax.weights import checkpoint, saved_runs

LISTING = "images.json"


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What a run reads: images, and the modules of earlier runs."""

    training: pipeline.TrainingData
    evaluation: dict[str, pipeline.EvaluationData]
    loaded: train_state.Loaded


@dataclasses.dataclass(frozen=True)
class Computation:
    """All that computes while a stage trains.

    Attributes:
      networks: The stage's modules, with the params of the frozen ones.
      schedule: Of the learning rates.
      train_step: `train_step(state, networks.frozen, batch) -> (state, scalars)`.
    """

    networks: train_state.Networks
    schedule: optimizer.Schedule
    train_step: Callable[..., tuple[train_state.TrainState, dict[str, jax.Array]]]


@dataclasses.dataclass(frozen=True)
class _Run:
    """All that stays the same while a run trains."""

    config: Any
    stage: Stage
    mesh: Mesh
    directory: pathlib.Path
    checkpointer: checkpoint.Checkpointer
    inputs: _Inputs
    computation: Computation

    @property
    def networks(self) -> train_state.Networks:
        return self.computation.networks


def directory_of(config, workdir: str | pathlib.Path) -> pathlib.Path:
    """The folder of a config's run: `config.run` of the workdir, or as its stage names it."""
    return pathlib.Path(workdir) / (config.run or make_stage(config).run)


def check(config, workdir: str | pathlib.Path) -> None:
    """Checks a config's values and opens its images, as `train` will.

    For the later of several runs, before the first one trains for hours.

    Raises:
      ValueError: As `train`, but for what depends on earlier runs.
    """
    stage = _make_checked_stage(config, sharding.make_mesh())
    _read_progress(config, directory_of(config, workdir))
    pipeline.open_training_data(config)
    _open_evaluation(config, stage)


def fall_back(config, workdir: str | pathlib.Path) -> None:
    """Sets aside the last steps of a config's run that are damaged, and says so.

    So `train` goes on from the step before them.

    Raises:
      ValueError: If no step of the run can be read.
    """
    directory = directory_of(config, workdir)
    if sharding.is_writer():
        for line in saved_runs.set_aside_damaged(directory):
            logging.warning("%s", line)
    sharding.wait_for_all("damaged steps are set aside")


def train(config, workdir: str | pathlib.Path) -> dict[str, float]:
    """Trains the stage that a config describes, or goes on where it stopped.

    Args:
      config: A `ConfigDict` as `configs/*.py` return it.
      workdir: Folder of all runs; this one lies in `directory_of` it.

    Returns:
      The last evaluation: metrics by "<set>/<metric>".

    Raises:
      ValueError: Before any training, for whatever would make the run fail or mislead:
        config values, missing or changed earlier runs, missing or changed images.
      FloatingPointError: If more losses or gradients are not finite than the
        `config.skip_bad_batches` that the whole run may skip; the last checkpoint stays.
        A batch is skipped where it is met, on the devices, and later ones are trained on
        as ever: there is nothing to go back for, and when the loop takes note of it does
        not matter.
      stopping.Stopped: On SIGTERM or Ctrl-C, after the step at work is saved.
    """
    sharding.check_same("The configs", str(config_check.as_json(config)))
    mesh = sharding.make_mesh()
    stage = _make_checked_stage(config, mesh)
    directory = directory_of(config, workdir)
    first_step, saved = _read_progress(config, directory)
    loaded = train_state.load_sources(stage, directory.parent)
    if saved:
        config_check.check_same_origins(
            loaded.origins, saved["origins"], run=str(directory)
        )
    if first_step >= config.num_steps:
        logging.info("%s is finished, at step %d", directory, first_step)
        return saved["evaluation"]
    inputs = _open_inputs(config, stage, loaded, directory, is_new=not saved)
    run, state = _make_run(config, stage, mesh, directory, inputs)
    with stopping.StopRequest() as request, contextlib.closing(run.checkpointer):
        if first_step:
            items = run.checkpointer.restore(first_step, state.items())
            state = train_state.TrainState.from_items(items)
            logging.info("%s goes on at step %d", directory, first_step)
        elif sharding.is_writer():
            atomic_files.write_json(directory / LISTING, list(inputs.training.listing))
        writer = MetricWriter(
            directory, first_step=first_step, enabled=sharding.is_writer()
        )
        batches = inputs.training.batches(first_step)
        with contextlib.closing(writer), contextlib.closing(batches):
            return _fit(run, state, first_step, batches, saved, writer, request)


def _make_checked_stage(config, mesh: Mesh) -> Stage:
    config_check.check(config)
    config_check.check_batches(config, mesh)
    return make_stage(config)


def _read_progress(config, directory: pathlib.Path) -> tuple[int, dict[str, Any]]:
    """The last saved step and its metadata, of the same config; 0 and none of a new run."""
    step = max(saved_runs.saved_steps(directory), default=0)
    sharding.check_same(f"The last saved steps in {directory}", str(step))
    if not step:
        return 0, {}
    saved = saved_runs.read_metadata(directory, step)
    config_check.check_unchanged(config, saved["config"], run=str(directory))
    return step, saved


def _open_inputs(
    config, stage: Stage, loaded, directory: pathlib.Path, *, is_new: bool
) -> _Inputs:
    """Opens the images, and checks that they are those the run was started with."""
    shard = sharding.process_index(), sharding.process_count()
    training = pipeline.open_training_data(config, *shard)
    sharding.check_same("The training images", "\n".join(training.listing))
    evaluation = _open_evaluation(config, stage, *shard)
    if not is_new:
        config_check.check_same_listing(
            list(training.listing),
            atomic_files.read_json(directory / LISTING),
            run=str(directory),
        )
    return _Inputs(training, evaluation, loaded)


def _open_evaluation(config, stage: Stage, *shard: int):
    """Opens the evaluation sets, and checks that they can choose the best step."""
    sets = pipeline.open_evaluation_data(config, *shard)
    if config.best_metric:
        known = []
        for set_name, dataset in sets.items():
            with contextlib.closing(dataset.batches()) as batches:
                rows = sharding.drop_text(next(batches))
            known += [f"{set_name}/{name}" for name in metric_names(stage, rows)]
        best.check_metric(config.best_metric, known)
        pipeline.check_held_out(config)
    return sets


def make_computation(
    config, stage: Stage, mesh: Mesh, loaded: train_state.Loaded, epoch_steps: int
) -> tuple[Computation, train_state.TrainState]:
    """What computes in a run, and its state before the first step.

    Args:
      config: As of `train`.
      stage: The config's.
      mesh: The mesh of all devices.
      loaded: Modules of earlier runs.
      epoch_steps: Updates per pass over the images.
    """
    schedule = _make_schedule(config, epoch_steps)
    tx = optimizer.make_optimizer(
        stage.learning_rates, schedule, clip_norm=config.clip_norm
    )
    networks, state = train_state.create(
        stage,
        tx,
        loaded,
        mesh,
        seed=config.seed,
        keep_ema=config.ema_decay > 0,
        fsdp=config.fsdp,
    )
    train_step = make_train_step(
        stage,
        networks,
        tx,
        mesh,
        state.placement,
        seed=config.seed,
        compute_dtype=config.compute_dtype,
        num_micro_batches=config.num_micro_batches,
        ema_decay=config.ema_decay,
    )
    return Computation(networks, schedule, train_step), state


def _make_run(config, stage, mesh, directory: pathlib.Path, inputs: _Inputs):
    """The run and its state before the first step; the first that writes to disk."""
    computation, state = make_computation(
        config, stage, mesh, inputs.loaded, inputs.training.epoch_steps
    )
    run = _Run(
        config=config,
        stage=stage,
        mesh=mesh,
        directory=directory,
        checkpointer=checkpoint.Checkpointer(directory, keep=config.keep_checkpoints),
        inputs=inputs,
        computation=computation,
    )
    return run, state


def _fit(
    run: _Run, state, first_step: int, batches, saved, writer, request
) -> dict[str, float]:
    """The loop: batch, step, and every so often write, evaluate, save."""
    config = run.config
    evaluate = _make_evaluator(run, writer)
    evaluation = saved["evaluation"] if saved else evaluate(0, state)
    best_so_far = saved.get("best")
    skipped = list(saved.get("skipped_steps", ()))
    log = TrainLog(first_step, config.batch_size, run.inputs.training.epoch_steps)
    updated = updates(run.computation, run.mesh, state, batches, log)
    agree = sharding.LargestOfAll(run.mesh)
    for step in _progress(first_step, config.num_steps, run.directory.name):
        state = next(updated)
        done = step + 1
        is_last = done == config.num_steps
        if done % config.log_every == 0 or is_last:
            _note_skipped(run, state, log, skipped)
            writer.write(done, log.summary() | _current_rates(run, done, state))
            _check_replaced(run, log.replaced_share)
        if done % config.eval_every == 0 or is_last:
            evaluation = evaluate(done, state)
            best_so_far = best.update(best_so_far, done, evaluation, config.best_metric)
        is_best = best_so_far is not None and best_so_far["step"] == done
        signal = agree(request.signal)
        if done % config.checkpoint_every == 0 or is_last or is_best or signal:
            _note_skipped(run, state, log, skipped)
            progress = {
                "evaluation": evaluation,
                "best": best_so_far,
                "skipped_steps": skipped,
            }
            run.checkpointer.save(done, state.items(), _describe(run, state) | progress)
        if signal:
            raise stopping.Stopped(
                f"{run.directory} is saved at step {done} of {config.num_steps}, as a "
                "signal asked to stop. The same command goes on.",
                signal,
            )
    return evaluation


def updates(
    computation: Computation,
    mesh: Mesh,
    state: train_state.TrainState,
    batches: Iterator[Mapping[str, np.ndarray]],
    log: TrainLog,
) -> Iterator[train_state.TrainState]:
    """The state after each update: all that the host does in every step of a run.

    The host does not wait for the devices, which may be some updates behind.

    Args:
      computation: What updates.
      mesh: The mesh of all devices.
      state: Before the first update. The one asked for last is all that may be read.
      batches: This process's rows of the global batches.
      log: Gets the scalars.
    """
    for batch in sharding.place_ahead(mesh, batches):
        state, scalars = computation.train_step(
            state, computation.networks.frozen, batch
        )
        log.add(scalars)
        yield state


def _current_rates(run: _Run, step: int, state) -> dict[str, float]:
    rates = optimizer.current_learning_rates(
        run.stage.learning_rates, run.computation.schedule, step, state.opt_state
    )
    return {f"learning_rate/{name}": rate for name, rate in rates.items()}


def _describe(run: _Run, state) -> dict[str, Any]:
    """What a checkpoint says of itself, for whoever reads it."""
    return {
        "config": config_check.as_json(run.config),
        "modules": {
            name: run.stage.describe_module(name) for name in run.stage.trainable
        },
        "origins": run.inputs.loaded.origins,
        "ema": state.ema is not None,
    }


def _note_skipped(run: _Run, state, log: TrainLog, skipped: list[int]) -> None:
    """Adds the steps whose updates were discarded since the last call; stops at too many.

    All processes do so alike: what they read is the same on all devices.
    """
    if int(state.bad_step) <= max(skipped, default=-1):
        return
    limit = run.config.skip_bad_batches
    for step, scalars in log.bad_steps():
        if step in skipped:
            continue
        images = ", ".join(run.inputs.training.names(step))
        fault = (
            f"{run.directory}: the loss or gradient of step {step} is not finite "
            f"({train_log.explain(scalars)}). Its images: {images}."
        )
        if len(skipped) >= limit:
            before = f" So were steps {skipped}, which were skipped." if skipped else ""
            raise FloatingPointError(
                f"{fault}{before} The last good checkpoint, step "
                f"{run.checkpointer.latest_step() or 0}, stays. Look at those images, or "
                "train in another --workdir with lower learning rates or "
                f"--config.clip_norm; --config.skip_bad_batches={limit + 10} skips that "
                "many such batches, and goes on from there."
            )
        skipped.append(step)
        if sharding.is_writer():
            logging.warning("%s The batch was skipped.", fault)


def _check_replaced(run: _Run, share: float) -> None:
    """Stops where too many images could not be read since this process started."""
    if share <= run.config.max_replaced:
        return
    faults = " ".join(run.inputs.training.faults)
    raise ValueError(
        f"{run.directory}: {share:.1%} of the images could not be read any more, above "
        f"--config.max_replaced={run.config.max_replaced}. "
        f"{faults or 'The log of other processes names them.'} Restore the files and "
        "start again, or raise that field."
    )


def _make_schedule(config, epoch_steps: int) -> optimizer.Schedule:
    return optimizer.Schedule(
        kind=config.schedule,
        num_steps=config.num_steps,
        warmup_steps=config.warmup_steps,
        final_fraction=config.final_fraction,
        patience=config.patience,
        # With few photographs, the loss of one epoch is noise.
        window=max(epoch_steps, config.min_window),
        min_learning_rate=config.min_learning_rate,
    )


def _make_evaluator(run: _Run, writer) -> Callable[[int, Any], dict[str, float]]:
    """Returns `evaluate(step, state)`, which writes the metrics it returns."""
    eval_step = make_eval_step(
        run.stage,
        run.networks,
        run.mesh,
        compute_dtype=run.config.compute_dtype,
        num_samples=run.config.num_samples,
    )
    key = jax.random.key(run.config.seed)  # the same blur and so on in each evaluation

    def evaluate_set(state, dataset):
        """Metrics of the set, and images of its first batch."""
        parts, shown = [], {}
        for i, rows in enumerate(dataset.batches()):
            batch = sharding.place_batch(run.mesh, rows)
            batch_key = jax.random.fold_in(key, i)
            metrics, images = eval_step(
                state.weights, run.networks.frozen, batch, batch_key
            )
            parts.append(metrics)
            shown = shown or images
        whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
        is_real = whole.pop("mask") > 0
        numbers = run.stage.summarize({name: v[is_real] for name, v in whole.items()})
        return numbers, samples.side_by_side(jax.device_get(shown), is_real)

    def evaluate(step, state) -> dict[str, float]:
        metrics, images = {}, {}
        for set_name, dataset in run.inputs.evaluation.items():
            numbers, shown = evaluate_set(state, dataset)
            metrics |= {f"{set_name}/{name}": value for name, value in numbers.items()}
            images |= {f"{set_name}/{name}": image for name, image in shown.items()}
        writer.write(step, metrics)
        writer.write_images(step, images)
        return metrics

    return evaluate


def _progress(first_step: int, num_steps: int, run: str):
    """Steps to do, with a progress bar where a person watches."""
    return tqdm.tqdm(
        range(first_step, num_steps),
        initial=first_step,
        total=num_steps,
        desc=run,
        unit="step",
        disable=None if sharding.is_writer() else True,
    )
