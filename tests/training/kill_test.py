"""A run that is killed repeatedly equals, bit by bit, one that was never killed."""

import collections
import os
import pathlib
import random
import sys

import jax
import numpy as np
import pytest

from tests.training import killing, toy_stage
from tests.training.loop_test import all_arrays, rows_of
from ttl_jax.weights import saved_runs, trained


def start(photographs, workdir, num_steps):
    flags = killing.make_flags(photographs, workdir, num_steps)
    return killing.Trainer([sys.executable, "-m", "ttl_jax.main", *flags], workdir)


def start_two(photographs, workdir, num_steps):
    """Two processes with a device each, as launch/local.sh starts them."""
    flags = killing.make_flags(photographs, workdir, num_steps)
    command = ["bash", killing.ROOT / "launch" / "local.sh", "2", *flags]
    return killing.LocalProcesses(command, workdir, devices=1)


def kill_until_hit(start, aims, seed, num_kills):
    """Kills one trainer after the other, then lets one finish.

    Args:
      start: Starts a trainer.
      aims: Phases to hit; one that is listed n times must be hit n times.
      seed: Seed of the moments.
      num_kills: Smallest number of kills; the largest is three times that, as some miss.

    Returns:
      Number of kills, and the number of hits by phase.
    """
    chance = random.Random(seed)
    hits, missing = collections.Counter(), collections.Counter(aims)
    count = 0
    while missing or count < num_kills:
        phase = chance.choice(sorted(missing or set(aims)))
        hit = start().kill(phase, chance, num_steps=chance.randint(1, 4))
        count += 1
        told = f"{count} kills hit {dict(hits)}; missing are {dict(missing)}"
        assert hit and count < 3 * num_kills, told
        hits.update(hit)
        missing -= collections.Counter(hit)
    start().finish()
    return count, hits


def assert_same_run(one, other):
    """Checks for equal arrays, numbers and saved steps, including the best one."""
    for run_dir in (one, other):
        names = {path.name for path in (run_dir / saved_runs.FOLDER).iterdir()}
        assert names == set(map(str, saved_runs.saved_steps(run_dir)))  # nothing else
    assert saved_runs.saved_steps(one) == saved_runs.saved_steps(other)
    assert rows_of(one) == rows_of(other)
    jax.tree.map(np.testing.assert_array_equal, all_arrays(one), all_arrays(other))
    (_, ours), (_, theirs) = map(trained.load, (one, other))
    assert ours == theirs
    if ours["best"]:
        (ours, _), (theirs, _) = (
            trained.load(run_dir / saved_runs.BEST) for run_dir in (one, other)
        )
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize(
    ("aims", "num_steps", "num_kills"),
    [
        (("evaluation", "save", "clean-up"), 24, 3),
        pytest.param(3 * tuple(killing.PHASES), 300, 20, marks=pytest.mark.slow),
    ],
)
def test_killed_run_ends_with_exactly_the_state_of_an_undisturbed_one(
    aims, num_steps, num_kills, photographs, tmp_path
):
    count, hits = kill_until_hit(
        lambda: start(photographs, tmp_path / "killed", num_steps), aims, 0, num_kills
    )
    print(f"{count} kills: {dict(hits)}")  # for --capture=no
    toy_stage.train(
        killing.make_config(photographs, num_steps), tmp_path / "undisturbed"
    )
    assert_same_run(tmp_path / "killed" / "toy", tmp_path / "undisturbed" / "toy")


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed_end_as_undisturbed_ones(
    photographs, tmp_path, monkeypatch
):
    folder = pathlib.Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    count, hits = kill_until_hit(
        lambda: start_two(photographs, tmp_path / "killed", 60),
        ("compilation", "step", "evaluation", "save", "clean-up"),
        seed=0,
        num_kills=5,
    )
    print(f"{count} kills of two processes: {dict(hits)}")
    start_two(photographs, tmp_path / "undisturbed", 60).finish()
    assert_same_run(tmp_path / "killed" / "toy", tmp_path / "undisturbed" / "toy")
