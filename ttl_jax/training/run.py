"""A run: the config of one stage, which is checked and opened once and then trained."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import logging
from flax import nnx
from jax.sharding import Mesh

from ttl_jax import atomic_files, stopping, user_paths
from ttl_jax.data.loading import pipeline
from ttl_jax.stages.stage import Stage, make_stage
from ttl_jax.training import (
    best,
    config_check,
    loop,
    metric_writer,
    optimizer,
    origins,
    run_lock,
    run_log,
    sharding,
)
from ttl_jax.training.state import TrainState
from ttl_jax.training.step import metric_names
from ttl_jax.weights import checkpoint, flat_params, saved_runs, trained

LISTING = "images.json"
CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
      directory: Folder of the run.
      evaluation: Metrics of the last evaluation, by "<set>/<metric>".
    """

    directory: pathlib.Path
    evaluation: dict[str, float]
    _stage: Stage

    @functools.cached_property
    def modules(self) -> dict[str, nnx.Module]:
        """Trained modules by name, with the evaluated weights."""
        params, _ = trained.load(self.directory)
        modules = {}
        for name in self._stage.trainable:
            graph, _ = flat_params.split_factory(self._stage.modules[name])
            modules[name] = flat_params.merge_module(graph, params[name])
        return modules


@dataclasses.dataclass(frozen=True)
class Run:
    """A checked run with opened images; `train` may be called once.

    Attributes:
      first_step: Last saved step; 0 for a new run.
      saved: Metadata of that step; empty for a new run.
      training: Training images; None if the run is finished.
      evaluation: Evaluation sets by name; empty if the run is finished.
      lock: Lock of the run, if it has a folder and is not finished; on process 0.
    """

    config: Any
    stage: Stage
    mesh: Mesh
    directory: pathlib.Path
    first_step: int
    saved: Mapping[str, Any]
    training: pipeline.TrainingData | None
    evaluation: Mapping[str, pipeline.EvaluationData]
    lock: run_lock.Lock | None

    def train(self, next_run: pathlib.Path | None = None) -> Trained:
        """Trains the run to its end, from its last saved step.

        Args:
          next_run: Folder of the run that is trained after this one, for the log.

        Raises:
          ValueError: If an earlier run is missing, has changed or does not fit, another
            process trains this run, or too many images can no longer be read.
          FloatingPointError: If the loss or gradient is not finite in more steps of the
            whole run than `config.skip_bad_batches`. The last checkpoint is kept.
          stopping.Stopped: On SIGTERM or Ctrl-C, after the current step is saved.
        """
        if self.training is None:
            logging.info("%s is finished, at step %d", self.directory, self.first_step)
            evaluation = self.saved["evaluation"]
            # A smaller num_steps than before ends a run between two evaluations.
            evaluated = self.saved.get("evaluated_step", self.first_step)
            self._log_end(evaluation, evaluated, next_run)
            return Trained(self.directory, evaluation, self.stage)
        origins.check_usable(self.stage, self.directory.parent)
        loaded = _load_origins(self.stage, self.directory, self.saved)
        computation, state = loop.make_computation(
            self.config, self.stage, self.mesh, loaded, self.training.epoch_steps
        )
        # From here on there is a folder: the networks could be made.
        lock = _hold_lock(self.directory, self.first_step)
        with contextlib.ExitStack() as stack:
            if lock:
                stack.callback(lock.close)
            stack.enter_context(
                run_log.writing(self.directory, enabled=sharding.is_writer())
            )
            self._log_start(self.training, state)
            if sharding.is_writer():
                self._warn_of_long_warmup(computation.schedule)
            evaluation = self._fit(computation, state, loaded, self.training)
            self._log_end(evaluation, self.config.num_steps, next_run)
        return Trained(self.directory, evaluation, self.stage)

    def _log_start(self, training: pipeline.TrainingData, state: TrainState) -> None:
        """Logs what is trained, with totals."""
        images = ", ".join(f"{n:,} {field}" for field, n in training.counts.items())
        tested = ", ".join(f"{len(d):,} {name}" for name, d in self.evaluation.items())
        config = self.config
        num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        logging.info(
            "%s: stage %s, preset %s; %s to train on, %s to evaluate on; %s updates of %d "
            "images; %s params learn",
            self.directory, config.stage, config.preset, images, tested or "none",
            f"{config.num_steps:,}", config.batch_size, f"{num_params:,}",
        )  # fmt: skip

    def _log_end(
        self,
        evaluation: Mapping[str, float],
        evaluated: int,
        next_run: pathlib.Path | None,
    ) -> None:
        """Logs the last evaluation, where the results are, and what to run next."""
        directory = self.directory
        shown = "  ".join(f"{name} {value:.4g}" for name, value in evaluation.items())
        shown = shown or "no evaluation sets"
        logging.info("%s, step %d: %s", directory.name, evaluated, shown)
        logging.info("The results are in %s", directory)
        if next_run:
            logging.info("Next, this command trains %s", next_run)
        elif command := self.stage.next_command:
            best = directory / saved_runs.BEST if self.config.best_metric else directory
            paths = {"run": best, "workdir": directory.parent}
            quoted = {name: shlex.quote(str(path)) for name, path in paths.items()}
            fields = ", with your data fields" if command.startswith("main") else ""
            logging.info("Next: ttl-jax %s%s", command.format(**quoted), fields)

    def _fit(self, computation, state, loaded, training) -> dict[str, float]:
        """Restores the state if the run resumes, and runs the loop."""
        config, directory = self.config, self.directory
        if sharding.is_writer():
            atomic_files.write_json(directory / CONFIG, config_check.as_json(config))
        checkpointer = checkpoint.Checkpointer(directory, keep=config.keep_checkpoints)
        # Several processes have to agree on the step to stop at, also while they compile.
        request = stopping.StopRequest(starts=sharding.process_share()[1] > 1)
        with request, contextlib.closing(checkpointer):
            if self.first_step:
                items = checkpointer.restore(self.first_step, state.items())
                state = TrainState.from_items(items)
                logging.info("%s resumes at step %d", directory, self.first_step)
                self._warn_of_jumps(computation.schedule)
            elif sharding.is_writer():
                atomic_files.write_json(directory / LISTING, list(training.listing))
            enabled = sharding.is_writer()
            writer = metric_writer.MetricWriter(
                directory, first_step=self.first_step, enabled=enabled
            )
            batches = training.batches(self.first_step)
            with contextlib.closing(writer), contextlib.closing(batches):
                trainer = loop.Trainer(self, computation, loaded, checkpointer, writer)
                return trainer.fit(state, batches, request)

    def _warn_of_long_warmup(self, schedule: optimizer.Schedule) -> None:
        num_steps = self.config.num_steps
        if schedule.kind == "cosine" and schedule.warmup_steps >= num_steps:
            logging.warning(
                "%s: config.warmup_steps=%d is not below config.num_steps=%d, so the "
                "learning rates only rise.",
                self.directory, schedule.warmup_steps, num_steps,
            )  # fmt: skip

    def _warn_of_jumps(self, schedule: optimizer.Schedule) -> None:
        """Warns if another `num_steps` than before makes the learning rates jump."""
        num_steps = self.saved["config"]["num_steps"]
        jumps = {
            name: schedule.jump(rate, self.first_step, num_steps)
            for name, rate in self.stage.learning_rates.items()
        }
        shown = [
            f"{name} from {jump[0]:.3g} to {jump[1]:.3g}"
            for name, jump in jumps.items() if jump
        ]  # fmt: skip
        if shown and sharding.is_writer():
            logging.warning(
                "%s resumes at step %d with config.num_steps=%d, which was %d. With the "
                "%s schedule this makes the learning rates jump: %s.",
                self.directory, self.first_step, self.config.num_steps, num_steps,
                schedule.kind, ", ".join(shown),
            )  # fmt: skip


def open_run(
    config,
    workdir: str | os.PathLike[str],
    *,
    earlier: Sequence[Run] = (),
    fallback: bool = False,
) -> Run:
    """Checks a config, makes its stage and opens its images, before anything is written.

    Args:
      config: A `ConfigDict` of one stage, from `configs/*.py`.
      workdir: Folder of all runs. The folder of the run in it is `config.run`, or the
        default name of the stage.
      earlier: Runs that will be trained before this one, which may start from them.
      fallback: Whether to set a damaged last checkpoint aside and resume from the one
        before it.

    Raises:
      ValueError: If a config value is invalid, an earlier run is missing or does not fit,
        images are missing or changed, or another process trains the run.
    """
    sharding.check_same("The configs", str(config_check.as_json(config)))
    mesh = sharding.make_mesh()
    config_check.check(config)
    config_check.check_batches(config, mesh)
    stage = make_stage(config)
    config_check.check_start(config, stage)
    config_check.check_modules(config, stage, [other.stage for other in earlier])
    config_check.check_memory(config, mesh)
    directory = user_paths.expand(workdir) / (config.run or stage.run)
    if fallback:
        fall_back(directory)
    first_step, saved = _read_progress(config, directory)
    if saved:
        _load_origins(stage, directory, saved)
    training, evaluation, lock = None, {}, None
    if first_step < config.num_steps:
        coming = [other for other in earlier if other.training is not None]
        origins.check_usable(stage, directory.parent, coming)
        if directory.is_dir():
            lock = _hold_lock(directory, first_step)
        training = _open_training(config, directory, is_new=not saved)
        evaluation = _open_evaluation(config, stage)
    return Run(
        config, stage, mesh, directory, first_step, saved, training, evaluation, lock
    )


def _load_origins(stage: Stage, directory: pathlib.Path, saved: Mapping[str, Any]):
    """Loads the modules of earlier runs, which must be as when this run was started.

    A finished run needs none of them: those that were deleted are left out.
    """
    loaded = origins.load(stage, directory.parent)
    if saved:
        there = {name: module.origin for name, module in loaded.items()}
        config_check.check_same_origins(
            {**saved["origins"], **there}, saved["origins"], run=str(directory)
        )
    return loaded


def fall_back(directory: pathlib.Path) -> None:
    """Sets damaged last steps of a run aside, and logs them.

    Raises:
      ValueError: If no step of the run can be read, or another process trains the run.
    """
    if sharding.is_writer() and directory.is_dir():
        with contextlib.closing(run_lock.hold(directory)):
            for line in saved_runs.set_aside_damaged(directory):
                logging.warning("%s", line)
    sharding.wait_for_all("damaged steps are set aside")


def _hold_lock(directory: pathlib.Path, first_step: int) -> run_lock.Lock | None:
    """Returns the lock of a run, on process 0.

    Args:
      first_step: Last saved step, as it was read without the lock.

    Raises:
      ValueError: If another process trains the run, or has trained it since.
    """
    if not sharding.is_writer():
        return None
    lock = run_lock.hold(directory)
    last = max(saved_runs.saved_steps(directory), default=0)
    if last != first_step:
        raise ValueError(
            f"{directory} was at step {first_step} when this process read it, and is now "
            f"at step {last}: another process has trained it. Start the command again."
        )
    return lock


def _read_progress(config, directory: pathlib.Path) -> tuple[int, dict[str, Any]]:
    """Returns the last saved step of a run and its metadata; 0 and {} for a new run."""
    step = max(saved_runs.saved_steps(directory), default=0)
    sharding.check_same(f"The last saved steps in {directory}", str(step))
    if not step:
        return 0, {}
    saved = saved_runs.read_metadata(directory, step)
    config_check.check_unchanged(config, saved["config"], run=str(directory))
    config_check.check_start_share(config, step, saved["config"], run=str(directory))
    return step, saved


def _open_training(config, directory: pathlib.Path, *, is_new: bool):
    """Opens the training images, which must be the same as when the run was started."""
    training = pipeline.open_training_data(config, *sharding.process_share())
    listing = list(training.listing)
    sharding.check_same("The training images", "\n".join(listing))
    if not is_new:
        saved = atomic_files.read_json(directory / LISTING)
        config_check.check_same_listing(listing, saved, run=str(directory))
    return training


def _open_evaluation(config, stage: Stage):
    """Opens the evaluation sets, and checks that they may choose the best step."""
    sets = pipeline.open_evaluation_data(config, *sharding.process_share())
    if config.best_metric:
        known = []
        for set_name, dataset in sets.items():
            with contextlib.closing(dataset.batches()) as batches:
                rows = next(batches)
            known += [f"{set_name}/{name}" for name in metric_names(stage, rows)]
        best.check_metric(config.best_metric, known)
        pipeline.check_held_out(config)
    return sets
