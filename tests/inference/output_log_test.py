"""The record of an output folder."""

import json
import os

import pytest

from ttl_jax.inference import file_jobs, output_log

X, Y = ({"weights": name, "strength": 1.0} for name in "xy")


@pytest.fixture
def jobs(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.png").write_text("rainy")
    return [
        file_jobs.Job(f"{tmp_path}/{name}.png", f"{tmp_path}/out/{name}.png")
        for name in "abc"
    ]


def add(log, job):
    log.add(job, os.stat(job.source))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_the_record_survives_a_kill(folder, jobs):
    log = output_log.OutputLog(folder, lambda target: X)
    add(log, jobs[0])
    add(log, jobs[1])
    with open(folder / output_log.NAME, "ab") as file:
        file.write(b'{"file": "b.p')  # cut short
    log = output_log.OutputLog(folder, lambda target: Y)
    different = log.find_differences(jobs)
    assert different == {jobs[0]: "weights x", jobs[1]: "weights x"}
    add(log, jobs[2])  # not on the line that was cut short
    log = output_log.OutputLog(folder, lambda target: X)
    assert log.find_differences(jobs) == {jobs[2]: "weights y"}


def test_a_source_that_changed_is_a_difference(folder, jobs):
    log = output_log.OutputLog(folder, lambda target: X)
    for job in jobs:
        add(log, job)
    os.utime(jobs[0].source, (1, 1))
    with open(jobs[1].source, "a") as file:
        file.write("more")
    os.remove(jobs[2].source)
    expected = dict.fromkeys(jobs, "another version of the source")
    assert log.find_differences(jobs) == expected
    again = output_log.OutputLog(folder, lambda target: X)
    assert again.find_differences(jobs) == expected
    add(again, jobs[0])
    assert jobs[0] not in again.find_differences(jobs)


def test_a_record_of_an_earlier_version_names_no_source(folder, jobs):
    line = json.dumps({"file": "a.png", **X}) + "\n"
    (folder / output_log.NAME).write_text(line)
    log = output_log.OutputLog(folder, lambda target: X)
    assert log.find_differences(jobs) == {}
