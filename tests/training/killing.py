"""Kills a trainer of the toy stage in a chosen phase.

The files that a process has written show its phase, also after its death.
"""

import os
import pathlib
import signal
import subprocess
import time

import jax

from tests.training import toy_stage
from ttl_jax.training import metric_writer
from ttl_jax.weights import saved_runs

ROOT = pathlib.Path(__file__).parents[2]
PARTIAL = ".orbax-checkpoint-tmp"  # ends the name of a step that is being written

# Phases of a trainer with their approximate duration in seconds. A kill comes at any time
# within its phase.
PHASES = {
    "import": 1.5,
    "compilation": 0.3,
    "step": 0.01,
    "evaluation": 0.002,
    "save": 0.05,
    "save of the best": 0.05,
    "clean-up": 0.02,
}

# Each evaluation is better than the one before. A save is due every four steps and where
# a step is the best; the last one and the best stay.
FIELDS = {
    "schedule": "constant",
    "eval_every": 3,
    "checkpoint_every": 4,
    "keep_checkpoints": 1,
    "best_metric": "photographs/mean",
    "eval_clean": ("sample/test",),
}


def make_config(photographs, num_steps, **more):
    return toy_stage.get_config(photographs, num_steps=num_steps, **FIELDS, **more)


def make_flags(photographs, workdir, num_steps):
    return [
        f"--config=tests/training/toy_stage.py:{photographs}",
        f"--workdir={workdir}",
        f"--config.num_steps={num_steps}",
        *(f"--config.{name}={value}" for name, value in FIELDS.items()),
    ]


def wait_for_steps(workdir, process, count=3):
    """Waits until more than so many rows of a running process are logged."""
    path = workdir / "toy" / metric_writer.FILE
    deadline = time.monotonic() + 120
    while not (path.exists() and len(metric_writer.read(path)) > count):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


class Trainer:
    """A command that trains, resumes or is finished.

    Attributes:
      process: The command.
    """

    def __init__(self, command, workdir, *, devices=None):
        self._run_dir = workdir / "toy"
        self._log = workdir / "log.txt"
        self._first_save = max(saved_runs.saved_steps(self._run_dir), default=0)
        workdir.mkdir(exist_ok=True)
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ
                | {"JAX_NUM_CPU_DEVICES": str(devices or jax.device_count())},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def phases(self) -> set[str]:
        """Current phases of the process, or its last ones; a save runs beside steps."""
        log = self._read_log()
        if "params, trained" not in log:
            return {"import"}
        if "loss" not in log:
            return {"compilation"}
        last = self._read_rows()[-1]
        is_due = "train/loss" in last and last["step"] % FIELDS["eval_every"] == 0
        return {"evaluation" if is_due else "step"} | self._background()

    def _background(self) -> set[str]:
        folder = self._run_dir / saved_runs.FOLDER
        names = [path.name for path in folder.glob(f"*{PARTIAL}")]
        if names:
            step = max(int(name.removesuffix(PARTIAL)) for name in names)
            is_due = step % FIELDS["checkpoint_every"] == 0
            return {"save" if is_due else "save of the best"}
        saved = saved_runs.saved_steps(self._run_dir)
        if saved and saved[-1] > self._first_save:
            best = saved_runs.read_metadata(self._run_dir, saved[-1])["best"]
            if not set(saved) <= {saved[-1], best["step"]}:
                return {"clean-up"}
        return set()

    def kill(self, phase, random, num_steps) -> set[str]:
        """Kills the process within a phase, once it has done some steps.

        Returns:
          Phases in which it was killed; empty if it finished before.
        """
        is_early = phase in ("import", "compilation")
        while self.process.poll() is None:
            is_far = is_early or self._read_log().count("train/loss") >= num_steps
            if is_far and phase in self.phases():
                break
            time.sleep(0.0002)
        time.sleep(random.uniform(0, PHASES[phase]))
        if self.process.poll() is not None:
            self.finish()
            return set()
        os.kill(self._victim(random), signal.SIGKILL)
        self.process.wait(60)
        return self.phases()

    def _victim(self, random) -> int:
        """The id of the process to kill."""
        return self.process.pid

    def finish(self) -> None:
        """Waits until all is trained."""
        assert self.process.wait(300) == 0, self._read_log()

    def _read_log(self) -> str:
        return self._log.read_text(errors="replace")

    def _read_rows(self) -> list[dict]:
        path = self._run_dir / metric_writer.FILE
        return metric_writer.read(path) if path.exists() else []


class LocalProcesses(Trainer):
    """Processes of launch/local.sh: one is killed, and the script ends the others."""

    def _victim(self, random) -> int:
        script = self.process.pid
        children = pathlib.Path(f"/proc/{script}/task/{script}/children").read_text()
        return int(random.choice(children.split()))
