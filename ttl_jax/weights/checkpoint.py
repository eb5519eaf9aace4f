"""Saves the steps of a run and restores them: arrays and JSON, by Orbax.

A step consists of

    params/<module>/<leaf>    the weights of each trainable module
    ema/<module>/<leaf>       their moving average, if the run has one
    progress/                 step, optimizer state and all else that resuming needs
    metadata                  JSON: config, networks, origins of loaded modules

A leaf is an array of `flat_params`. Name, shape, type and checksum of each are verified
when it is read.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from ttl_jax.weights import fingerprints, flat_params, saved_runs


@dataclasses.dataclass
class _LatestAndBest:
    """Orbax policy that keeps the last steps and the best one."""

    num_latest: int
    best_step: int | None = None  # so far

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        """Returns for each saved step, in ascending order, whether to keep it."""
        del context
        latest = checkpoints[-self.num_latest :]
        return [step in latest or step.step == self.best_step for step in checkpoints]


class Checkpointer:
    """Saves and restores the steps of one run.

    Attributes:
      run_dir: Folder of the run; checkpoints are in its subfolder `checkpoints`.

    Raises:
      ValueError: If a saved step is so damaged that Orbax cannot list it.
    """

    def __init__(self, run_dir: pathlib.Path, *, keep: int):
        self.run_dir = run_dir
        self._folder = run_dir / saved_runs.FOLDER
        self._kept = _LatestAndBest(keep)
        if jax.process_index() == 0:
            self._remove_partial()  # incomplete steps of a killed process
        try:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self._kept, create=True
            )
            self._manager = ocp.CheckpointManager(
                self._folder.absolute(),
                options=options,
                item_handlers=saved_runs.make_handlers(),
            )
        except OSError:
            raise
        except Exception as error:  # Orbax reads part of each step.
            raise ValueError(
                f"{self._folder.absolute()} cannot be opened: "
                f"{saved_runs.reason_of(error)}. Move the damaged step elsewhere and start "
                "again."
            ) from error

    def latest_step(self) -> int | None:
        """Returns the last step that was saved completely, or None."""
        return self._manager.latest_step()

    def save(self, step: int, items: Mapping[str, Any], metadata: Mapping) -> None:
        """Starts to write a step in the background; the arrays may be donated afterwards.

        When the step is complete, older steps are removed, except the `keep` latest and
        the best.

        Args:
          items: Trees of arrays by item, including `params`.
          metadata: JSON values; `best`, if not None, has the best `step` so far.

        Raises:
          OSError: If this step or the previous one cannot be written. The last complete
            step is kept.
        """
        self._kept.best_step = (metadata.get("best") or {}).get("step")
        arguments: dict[str, Any] = {
            name: ocp.args.StandardSave(tree) for name, tree in items.items()
        }
        checksums = {name: fingerprints.checksum(tree) for name, tree in items.items()}
        metadata = {**metadata, saved_runs.CHECKSUMS: checksums}
        arguments["metadata"] = ocp.args.JsonSave(metadata)
        with self._saving():
            self._manager.save(step, args=ocp.args.Composite(**arguments), force=True)

    def restore(self, step: int, items: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the items of a step, with the sharding of their templates.

        Args:
          items: Trees of arrays or `jax.ShapeDtypeStruct` with sharding, by item.

        Raises:
          ValueError: If the name, shape or type of a leaf differs from the template.
          CheckpointError: If the step is damaged.
        """

        def as_template(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

        source = f"{self.run_dir} at step {step}"
        checksums = saved_runs.read_metadata(self.run_dir, step)[saved_runs.CHECKSUMS]
        with saved_runs.reading(self.run_dir, step, *items):
            saved = self._manager.item_metadata(step)
        arguments = {}
        for name, template in items.items():
            found, wanted = map(fingerprints.flatten, (saved[name], template))
            flat_params.verify_params(found, wanted, source=source, module=name)
            template = jax.tree.map(as_template, template)
            arguments[name] = ocp.args.StandardRestore(template)
        with saved_runs.reading(self.run_dir, step, *items):
            restored = self._manager.restore(step, args=ocp.args.Composite(**arguments))
        for name in items:
            with saved_runs.reading(self.run_dir, step, name):
                fingerprints.verify_checksum(restored[name], checksums.get(name))
        return {name: restored[name] for name in items}

    def close(self) -> None:
        """Waits until all steps are written, and closes the run; raises as `save`."""
        with self._saving():
            self._manager.close()

    def _remove_partial(self) -> None:
        for partial in self._folder.glob("*.orbax-checkpoint-tmp"):
            shutil.rmtree(partial, ignore_errors=True)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Raises an `OSError` for any error in the block, and removes the partial step."""
        try:
            yield
        except Exception as error:  # Orbax and TensorStore raise nearly anything.
            self._remove_partial()  # which may have filled the disk
            last = max(saved_runs.saved_steps(self.run_dir), default=None)
            stays = "No step is saved" if last is None else f"Step {last} is kept"
            raise OSError(
                f"{self._folder} could not be written to: {saved_runs.reason_of(error)}. "
                f"{stays}. When there is space and permission to write, the same command "
                "resumes."
            ) from error
