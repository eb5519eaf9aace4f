"""The training loop of any stage: batches, steps, and at intervals log, evaluate, save."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
import numpy as np
import tqdm
from absl import logging
from jax.sharding import Mesh

from ttl_jax import stopping
from ttl_jax.stages.stage import Stage
from ttl_jax.training import best, config_check, optimizer, sharding
from ttl_jax.training.evaluator import make_evaluator
from ttl_jax.training.origins import Loaded
from ttl_jax.training.state import Networks, TrainState, create
from ttl_jax.training.step import make_train_step
from ttl_jax.training.train_log import TrainLog, explain


@dataclasses.dataclass(frozen=True)
class Computation:
    """The parts of a run that compute.

    Attributes:
      networks: The stage's modules, with the params of the frozen ones.
      schedule: Schedule of the learning rates.
      train_step: `train_step(state, networks.frozen, batch) -> (state, scalars)`.
    """

    networks: Networks
    schedule: optimizer.Schedule
    train_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def make_computation(
    config, stage: Stage, mesh: Mesh, loaded: Mapping[str, Loaded], epoch_steps: int
) -> tuple[Computation, TrainState]:
    """Returns the computing parts of a run, and its state before the first step.

    Args:
      epoch_steps: Number of updates per pass over the images.
    """
    fields = (
        "num_steps", "warmup_steps", "final_fraction", "patience", "min_learning_rate",
    )  # fmt: skip
    schedule = optimizer.Schedule(
        kind=config.schedule,
        # With few photographs, the loss of a single epoch is too noisy.
        window=max(epoch_steps, config.min_window),
        **{field: config[field] for field in fields},
    )
    tx = optimizer.make_optimizer(
        stage.learning_rates,
        schedule,
        clip_norm=config.clip_norm,
    )
    networks, state = create(config, stage, tx, loaded, mesh)
    train_step = make_train_step(config, stage, networks, tx, mesh, state.placement)
    return Computation(networks, schedule, train_step), state


def updates(
    computation: Computation,
    mesh: Mesh,
    state: TrainState,
    batches: Iterator[Mapping[str, np.ndarray]],
    log: TrainLog,
) -> Iterator[TrainState]:
    """Yields the state after each update, and logs its scalars; this is the hot loop.

    The host does not wait for the devices, which may be some updates behind. Only the last
    yielded state may be read.

    Args:
      state: State before the first update; it is donated.
      batches: This process's rows of the global batches.
    """
    for batch in sharding.place_ahead(mesh, batches):
        state, scalars = computation.train_step(
            state, computation.networks.frozen, batch
        )
        log.add(scalars)
        yield state


class Trainer:
    """Trains an opened `run.Run`.

    `loaded` has the modules of earlier runs from which it starts. Their origins are
    saved with each step.
    """

    def __init__(
        self, run, computation: Computation, loaded: Mapping[str, Loaded],
        checkpointer, writer,
    ):  # fmt: skip
        self._run, self._config = run, run.config
        self._computation, self._loaded = computation, loaded
        self._checkpointer, self._writer = checkpointer, writer
        epoch_steps = run.training.epoch_steps
        self._log = TrainLog(run.first_step, run.config.batch_size, epoch_steps)
        self._evaluator = make_evaluator(
            run.config, run.stage, computation.networks, run.mesh, run.evaluation
        )
        self._evaluation = run.saved.get("evaluation", {})
        self._evaluated = run.saved.get("evaluated_step", run.first_step)
        self._best = run.saved.get("best")
        self._skipped = list(run.saved.get("skipped_steps", ()))

    def fit(
        self,
        state: TrainState,
        batches: Iterator[Mapping[str, np.ndarray]],
        request: stopping.StopRequest,
    ) -> dict[str, float]:
        """Trains from the first step of the run to the last; returns the last evaluation.

        `batches` are this process's rows of the global batches from the first step on.
        `request` is started after the first step; after each, it may ask to stop.

        Raises:
          ValueError, FloatingPointError, stopping.Stopped: As `run.Run.train`.
        """
        config, run = self._config, self._run
        if not run.saved:
            self._evaluate(0, state)
        updated = updates(self._computation, run.mesh, state, batches, self._log)
        agree = sharding.LargestOfAll(run.mesh)
        name, num_steps = run.directory.name, config.num_steps
        for done in _show_progress(run.first_step, num_steps, name):
            state = next(updated)
            request.start()  # before the first update there is nothing to save
            is_last = done == num_steps
            if is_last and config.start_share:
                state = self._keep_start(state)
            if done % config.log_every == 0 or is_last:
                self._write_log(done, state)
            is_best = False
            if done % config.eval_every == 0 or is_last:
                is_best = self._evaluate(done, state)
            signal = agree(request.signal)
            if done % config.checkpoint_every == 0 or is_last or is_best or signal:
                self._save(done, state)
            if signal:
                raise stopping.Stopped(
                    f"{run.directory} is saved at step {done} of {num_steps}, and stopped "
                    "by a signal. The same command resumes it.",
                    signal,
                )
        return self._evaluation

    def _keep_start(self, state: TrainState) -> TrainState:
        """Returns the state with a share of the initial weights in those to evaluate.

        A network that is fine-tuned on little data forgets what it learned before. The
        mean of the initial and the new weights keeps most of both (Wortsman et al.,
        Robust fine-tuning of zero-shot models, CVPR 2022, Eq. 1).
        """
        share = self._config.start_share
        start = {name: self._loaded[name].params for name in state.weights}
        start = jax.device_put(start, sharding.replicated(self._run.mesh))

        def mix(new, old):
            return jax.tree.map(lambda a, b: (1 - share) * a + share * b, new, old)

        placement = jax.tree.map(lambda leaf: leaf.sharding, state.weights)
        mixed = jax.jit(mix, out_shardings=placement)(state.weights, start)
        field = "params" if state.ema is None else "ema"
        return dataclasses.replace(state, **{field: mixed})

    def _evaluate(self, step: int, state) -> bool:
        """Evaluates a step; returns whether it is the best one so far."""
        self._evaluation, images = self._evaluator(state)
        self._evaluated = step
        self._writer.write(step, self._evaluation)
        self._writer.write_images(step, images)
        if step == 0:
            return False
        self._best = best.update(
            self._best, step, self._evaluation, self._config.best_metric
        )
        return self._best is not None and self._best["step"] == step

    def _write_log(self, step: int, state) -> None:
        self._note_skipped(state)
        learning_rates = self._run.stage.learning_rates
        rates = optimizer.current_learning_rates(
            learning_rates, self._computation.schedule, step, state.opt_state
        )
        rates = {f"learning_rate/{name}": rate for name, rate in rates.items()}
        scalars = self._log.summary() | rates
        left = self._log.time_left(self._config.num_steps)
        note = "" if left is None else f"  {left} left"
        self._writer.write(step, scalars, note)
        self._check_replaced()

    def _save(self, step: int, state) -> None:
        self._note_skipped(state)
        stage = self._run.stage
        metadata = {
            "config": config_check.as_json(self._config),
            "modules": {name: stage.describe_module(name) for name in stage.trainable},
            "origins": {name: module.origin for name, module in self._loaded.items()},
            "ema": state.ema is not None,
            "evaluation": self._evaluation,
            "evaluated_step": self._evaluated,
            "best": self._best,
            "skipped_steps": self._skipped,
        }
        self._checkpointer.save(step, state.items(), metadata)

    def _note_skipped(self, state) -> None:
        """Records the steps discarded since the last call; raises if there are too many.

        All processes read the same values, so all of them take the same action.
        """
        if int(state.bad_step) <= max(self._skipped, default=-1):
            return
        for step, scalars in self._log.bad_steps():
            if step not in self._skipped:
                self._skip(step, scalars)

    def _skip(self, step: int, scalars: Mapping[str, float]) -> None:
        directory, limit = self._run.directory, self._config.skip_bad_batches
        images = ", ".join(self._run.training.names(step))
        fault = (
            f"{directory}: the loss or gradient of step {step} is not finite "
            f"({explain(scalars)}). Its images: {images}."
        )
        if len(self._skipped) >= limit:
            skipped = self._skipped
            before = f" Steps {skipped} were skipped before." if skipped else ""
            raise FloatingPointError(
                f"{fault}{before} The last good checkpoint, step "
                f"{self._checkpointer.latest_step() or 0}, is kept. Check these images; "
                "or train in another --workdir with lower learning rates or "
                "--config.clip_norm; or allow more such batches with "
                f"--config.skip_bad_batches={limit + 10}."
            )
        self._skipped.append(step)
        if sharding.is_writer():
            logging.warning("%s The batch was skipped.", fault)

    def _check_replaced(self) -> None:
        """Stops if too many images could not be read since this process started."""
        share = self._log.replaced_share
        if share <= self._config.max_replaced:
            return
        faults = " ".join(self._run.training.faults)
        raise ValueError(
            f"{self._run.directory}: {share:.1%} of the images can no longer be read, "
            f"more than --config.max_replaced={self._config.max_replaced}. "
            f"{faults or 'The log of other processes names them.'} Restore the files and "
            "start again, or increase the field."
        )


def _show_progress(first_step: int, num_steps: int, name: str) -> Iterable[int]:
    """Returns the numbers of the updates to do, with a progress bar in a terminal."""
    return tqdm.tqdm(
        range(first_step + 1, num_steps + 1),
        initial=first_step, total=num_steps, desc=name, unit="step",
        disable=None if sharding.is_writer() else True,
    )  # fmt: skip
