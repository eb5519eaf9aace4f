"""Trains any stage: `train(config, workdir)` is the whole run, top to bottom."""

import contextlib
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import tqdm
from absl import logging

from ttl_jax.data import pipeline
from ttl_jax.stages.stage import Stage, make_stage
from ttl_jax.training import checkpoint, config_check, optimizer, sharding
from ttl_jax.training import state as train_state
from ttl_jax.training.metric_writer import MetricWriter
from ttl_jax.training.state import TrainState
from ttl_jax.training.step import make_eval_step, make_train_step

LISTING = "images.json"


def train(config, workdir: str | pathlib.Path) -> dict[str, float]:
    """Trains the stage that a config describes, or goes on where it stopped.

    Args:
      config: A `ConfigDict` as `configs/*.py` return it.
      workdir: Folder of all runs; this one lies in its subfolder `config.run`, or the
        stage's own name.

    Returns:
      The last evaluation: metrics by "<set>/<metric>".

    Raises:
      ValueError: Before any training, for whatever would make the run fail or mislead:
        config values, missing or changed earlier runs, missing or changed images.
      FloatingPointError: If a loss or gradient is not finite; the last checkpoint stays.
    """
    config_check.check(config)
    mesh = sharding.make_mesh()
    config_check.check_batches(config, mesh)
    stage = make_stage(config)
    workdir = pathlib.Path(workdir)
    run_dir = workdir / (config.run or stage.run)
    with contextlib.ExitStack() as stack:
        checkpointer = checkpoint.Checkpointer(run_dir, keep=config.keep_checkpoints)
        stack.callback(checkpointer.close)
        first_step = checkpointer.latest_step() or 0
        saved = checkpointer.metadata(first_step) if first_step else {}
        if saved:
            config_check.check_unchanged(config, saved["config"], run=str(run_dir))
        if first_step >= config.num_steps:
            logging.info("%s is finished, at step %d", run_dir, first_step)
            return saved["evaluation"]

        loaded = train_state.load_sources(stage, workdir)
        shard = sharding.process_index(), sharding.process_count()
        data = pipeline.open_training_data(config, *shard)
        evaluation_data = pipeline.open_evaluation_data(config, *shard)
        if saved:
            old = checkpoint.read_json(run_dir / LISTING)
            config_check.check_same_listing(data.listing, old, run=str(run_dir))
            config_check.check_same_origins(
                loaded.origins, saved["origins"], run=str(run_dir)
            )
        elif sharding.is_writer():
            checkpoint.write_json(run_dir / LISTING, list(data.listing))

        schedule = _make_schedule(config, data.epoch_steps)
        tx = optimizer.make_optimizer(
            stage.learning_rates, schedule, clip_norm=config.clip_norm
        )
        networks, state = train_state.create(
            stage,
            tx,
            loaded,
            sharding.replicated(mesh),
            seed=config.seed,
            keep_ema=config.ema_decay > 0,
        )
        if first_step:
            items = checkpointer.restore(first_step, state.items())
            state = TrainState.from_items(items)
            logging.info("%s goes on at step %d", run_dir, first_step)
        train_step = make_train_step(
            stage,
            networks,
            tx,
            mesh,
            seed=config.seed,
            compute_dtype=config.compute_dtype,
            num_micro_batches=config.num_micro_batches,
            ema_decay=config.ema_decay,
        )
        evaluate = _make_evaluator(config, stage, networks, mesh, evaluation_data)
        writer = stack.enter_context(
            contextlib.closing(
                MetricWriter(
                    run_dir, first_step=first_step, enabled=sharding.is_writer()
                )
            )
        )
        metadata = {
            "config": config_check.as_json(config),
            "modules": stage.describe_modules(),
            "origins": loaded.origins,
            "ema": state.ema is not None,
        }

        def check_finite(state: TrainState) -> None:
            bad_step = int(state.bad_step)
            if bad_step >= 0:
                raise FloatingPointError(
                    f"{run_dir}: the loss or gradient of step {bad_step} is not finite. "
                    f"Its images: {', '.join(data.names(bad_step))}. The last good "
                    f"checkpoint, step {checkpointer.latest_step() or 0}, stays. Lower "
                    "the learning rates or set --config.clip_norm."
                )

        evaluation = saved.get("evaluation") or evaluate(state)
        if not first_step:
            writer.write(0, evaluation)
        log = _TrainLog(config, stage, schedule, first_step)
        batches = data.batches(first_step)
        for step in _progress(first_step, config.num_steps, run_dir.name):
            rows = next(batches)
            rows.pop("name")
            batch = sharding.place_batch(mesh, rows)
            state, scalars = train_step(state, networks.frozen, batch)
            log.add(scalars)
            done = step + 1
            is_last = done == config.num_steps
            if done % config.log_every == 0 or is_last:
                check_finite(state)
                writer.write(done, log.summary(done, state.opt_state))
            if done % config.eval_every == 0 or is_last:
                evaluation = evaluate(state)
                writer.write(done, evaluation)
            if done % config.checkpoint_every == 0 or is_last:
                check_finite(state)
                checkpointer.save(
                    done, state.items(), {**metadata, "evaluation": evaluation}
                )
        return evaluation


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


def _make_evaluator(
    config, stage: Stage, networks, mesh, evaluation_data
) -> Callable[[TrainState], dict[str, float]]:
    eval_step = make_eval_step(
        stage, networks, mesh, compute_dtype=config.compute_dtype
    )
    key = jax.random.key(config.seed)  # the same blur and so on in each evaluation

    def evaluate_set(state, dataset) -> dict[str, float]:
        parts = []
        for i, rows in enumerate(dataset.batches()):
            rows.pop("name")
            batch = sharding.place_batch(mesh, rows)
            parts.append(
                eval_step(
                    state.weights, networks.frozen, batch, jax.random.fold_in(key, i)
                )
            )
        whole = jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)
        is_real = whole.pop("mask") > 0
        return stage.summarize_fn({name: v[is_real] for name, v in whole.items()})

    def evaluate(state: TrainState) -> dict[str, float]:
        return {
            f"{set_name}/{metric}": value
            for set_name, dataset in evaluation_data.items()
            for metric, value in evaluate_set(state, dataset).items()
        }

    return evaluate


class _TrainLog:
    """Means of the scalars since the last summary; they stay on the device till then."""

    def __init__(self, config, stage: Stage, schedule, first_step: int):
        self._config, self._stage, self._schedule = config, stage, schedule
        self._scalars: list[dict[str, jax.Array]] = []
        self._last = first_step, time.monotonic()

    def add(self, scalars: dict[str, jax.Array]) -> None:
        self._scalars.append(scalars)

    def summary(self, step: int, opt_state: Any) -> dict[str, float]:
        whole = jax.tree.map(
            lambda *v: float(np.mean(v)), *jax.device_get(self._scalars)
        )
        last_step, last_time = self._last
        self._scalars, self._last = [], (step, time.monotonic())
        rates = optimizer.current_learning_rates(
            self._stage.learning_rates, self._schedule, step, opt_state
        )
        images = (step - last_step) * self._config.batch_size
        return {
            **{f"train/{name}": value for name, value in whole.items()},
            **{f"learning_rate/{name}": rate for name, rate in rates.items()},
            "images_per_second": images / (self._last[1] - last_time),
        }


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
