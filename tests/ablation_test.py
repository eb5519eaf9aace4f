"""An ablation started as by a user: all rows, a kill, and more rows later."""

import json
import os
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

from tests.commands import ROOT, command, data_flags, run, train
from ttl_jax.training import metric_writer
from ttl_jax.weights import fingerprints, trained

RUNS = {
    f"{name}_seed{seed}"
    for name in ("distill_recog_only", "derain_recog_only", "scratch")
    for seed in (1, 2)
}


def flags(workdir, photographs, rows="('recog_only','scratch')"):
    return (
        "--config=configs/ablation.py:smoke",
        f"--workdir={workdir}",
        f"--config.rows={rows}",
        "--config.seeds=(1,2)",
        *data_flags(photographs),
    )


@pytest.fixture(scope="module")
def scratch(photographs, tmp_path_factory):
    """A row without teachers, two seeds, two steps per run."""
    workdir = tmp_path_factory.mktemp("scratch")
    assert not train(*flags(workdir, photographs, "('scratch',)"))
    return workdir


def test_index_leads_to_runs_of_each_seed_that_restore(scratch):
    names = {"scratch_seed1", "scratch_seed2"}
    assert set(os.listdir(scratch)) == names | {"ablation.json"}
    (row,) = json.loads((scratch / "ablation.json").read_text())["rows"]
    assert row["name"] == "scratch" and set(row["runs"].values()) == names
    digests = set()
    for seed, name in row["runs"].items():
        modules, metadata = trained.load(scratch / name)
        assert set(modules) == {"encoder", "decoder"}
        assert metadata["origins"] == {}
        assert metadata["config"]["seed"] == int(seed)
        assert metadata["evaluation"]["pairs/psnr"] > 0
        digests.add(fingerprints.digest(modules["encoder"]))
    assert len(digests) == 2


@pytest.fixture(scope="module")
def ablation(photographs, tmp_path_factory):
    """One row of each kind, two seeds, two steps per run."""
    workdir = tmp_path_factory.mktemp("ablation")
    assert not train(*flags(workdir, photographs))
    return workdir


# `main_test` checks the same of one seed, and `training/runs_test` the order of all runs.
@pytest.mark.slow
def test_every_row_is_trained_with_every_seed_from_the_same_teachers(ablation):
    assert set(os.listdir(ablation)) == RUNS | {"recog", "ablation.json"}
    weights = {name: trained.load(ablation / name) for name in RUNS}
    digests = [fingerprints.digest(weights[name][0]["encoder"]) for name in RUNS]
    assert len(set(digests)) == len(RUNS)
    teachers = [
        weights[f"distill_recog_only_seed{seed}"][1]["origins"] for seed in (1, 2)
    ]
    assert teachers[0] == teachers[1]
    assert set(teachers[0]) == {"recog_encoder", "recog_decoder"}
    for seed in (1, 2):
        student = f"distill_recog_only_seed{seed}"
        origin = weights[f"derain_recog_only_seed{seed}"][1]["origins"]["encoder"]
        assert origin["run"] == student
        assert origin["digest"] == fingerprints.digest(weights[student][0]["encoder"])


@pytest.mark.slow
def test_killed_ablation_resumes_and_equals_one_never_killed(
    ablation, photographs, tmp_path, monkeypatch
):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", str(jax.device_count()))
    shutil.copytree(ablation / "recog", tmp_path / "recog")
    process = subprocess.Popen(
        command("main", *flags(tmp_path, photographs)),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    path = tmp_path / "derain_recog_only_seed1" / metric_writer.FILE
    deadline = time.monotonic() + 300
    while not (path.exists() and metric_writer.read(path)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "ablation.json").exists()
    kept = tmp_path / "distill_recog_only_seed1" / metric_writer.FILE
    time_of_finished = kept.stat().st_mtime_ns
    run("main", *flags(tmp_path, photographs))
    assert kept.stat().st_mtime_ns == time_of_finished
    for name in RUNS:
        ours, theirs = (
            trained.load(workdir / name) for workdir in (tmp_path, ablation)
        )
        assert ours[1]["step"] == theirs[1]["step"] == 2
        jax.tree.map(np.testing.assert_array_equal, ours[0], theirs[0])


@pytest.mark.parametrize(
    ("flag", "fault"),
    [
        ("--config.rows=('recog_onyl',)", "did you mean 'recog_only'"),
        ("--config.scratch.image_loss=mes", "choose one of ['charbonnier'"),
        ("--config.distill.run=mine", "keep their names"),
        ("--config.derain.best_metric=pairs/psrn", "did you mean 'pairs/psnr'"),
        ("--config.pairs=folder:/nowhere", "there is no folder /nowhere"),
    ],
)
def test_an_invalid_later_run_is_rejected_before_the_first_trains(
    flag, fault, tmp_path
):
    config = "--config=configs/ablation.py:smoke"
    message = train(config, f"--workdir={tmp_path / 'runs'}", flag)
    assert message.startswith("ttl_jax.main: ") and fault in message
    assert "\n" not in message
    assert not (tmp_path / "runs").exists()


def test_a_changed_config_of_a_later_run_is_reported_before_the_first_trains(
    scratch, photographs, tmp_path
):
    shutil.copytree(scratch / "scratch_seed2", tmp_path / "scratch_seed2")
    rows = flags(tmp_path, photographs, "('scratch',)")
    message = train(*rows, "--config.scratch.learning_rate=0.5")
    assert "scratch_seed2 cannot resume" in message
    assert "learning_rate was 0.001, is 0.5" in message
    assert os.listdir(tmp_path) == ["scratch_seed2"]
