"""launch/gpu_benchmark.sh: the benchmarks for a GPU."""

import csv
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


# Stands for the interpreter of launch/gpu_benchmark.sh: benchmarks write one row, but those
# of the input take long, and a batch of 64 does not fit.
FAKE_BENCHMARK = """#!{python}
import json, os, pathlib, sys, time

if sys.argv[1] == "-c":
    sys.exit()  # all packages are there
if sys.argv[1] == "-":
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
kind, flags = sys.argv[3], sys.argv[4:]
if kind == "input":
    time.sleep({seconds})
if "--batch_size" in flags and flags[flags.index("--batch_size") + 1] == "64":
    sys.exit("--profile" not in flags)
folder = pathlib.Path(flags[flags.index("--output") + 1])
folder.mkdir()
(folder / "x.json").write_text(json.dumps({{"updates": [{{"ms": 3, "kind": kind}}]}}))
"""


def run_gpu_benchmark(*arguments, python=sys.executable):
    result = subprocess.run(
        ["bash", ROOT / "launch" / "gpu_benchmark.sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": str(python)},
    )
    results = pathlib.Path(arguments[1]) / "results.csv"
    text = results.read_text() if results.exists() else ""
    lines = list(csv.DictReader(text.splitlines()))
    statuses = {
        line["measurement"]: int(line["value"])
        for line in lines
        if (line["table"], line["column"]) == ("run", "exit_status")
    }
    return result, lines, statuses


@pytest.fixture
def fake_benchmark(tmp_path):
    def make(seconds):
        path = tmp_path / "python"
        path.write_text(FAKE_BENCHMARK.format(python=sys.executable, seconds=seconds))
        path.chmod(0o755)
        return path

    return make


def test_larger_batches_are_measured_until_one_fails(fake_benchmark, tmp_path):
    output = tmp_path / "gpu"
    result, lines, statuses = run_gpu_benchmark(300, output, python=fake_benchmark(0))
    assert result.returncode == 0, result.stderr
    batches = {name: s for name, s in statuses.items() if name.startswith("batch-")}
    assert batches == {
        f"batch-{preset}-{dtype}-{size}": size == 64
        for dtype in ("bfloat16", "float32")
        for preset in ("small", "base")
        for size in (32, 64)
    }
    others = set(statuses) - set(batches)
    steps = {"step-small", "step-base", "step-paper", "input-float32", "input-bfloat16"}
    assert others == steps | {"restore", "profile"}
    assert {
        "measurement": "step-paper", "table": "updates", "row": "0", "column": "ms",
        "value": "3",
    } in lines  # fmt: skip


def test_results_before_the_time_is_over_are_kept(fake_benchmark, tmp_path):
    output = tmp_path / "gpu"
    result, _, statuses = run_gpu_benchmark(10, output, python=fake_benchmark(100))
    assert statuses["step-small"] == 0
    assert statuses["input-float32"] == 124 and "restore" not in statuses
    assert "no time left for restore" in result.stderr


def test_results_of_an_earlier_run_are_not_mixed_with_these(fake_benchmark, tmp_path):
    (tmp_path / "gpu" / "step-small").mkdir(parents=True)
    (tmp_path / "gpu" / "step-small" / "x.json").write_text('{"updates": [{"ms": 3}]}')
    arguments = (300, tmp_path / "gpu")
    result, lines, _ = run_gpu_benchmark(*arguments, python=fake_benchmark(0))
    assert result.returncode == 1 and "files of an earlier run" in result.stderr
    assert not lines


def test_a_missing_interpreter_and_failures_alone_end_with_status_1(tmp_path):
    result, _, statuses = run_gpu_benchmark(9, tmp_path / "a", python="no-python")
    assert result.returncode == 1 and "no interpreter no-python" in result.stderr
    assert not statuses
    broken = tmp_path / "python"
    broken.write_text(
        f'#!/bin/sh\n[ "$1" = - ] && exec {sys.executable} "$@"\n'
        '[ "$1" = -c ] && exit\nexit 3\n'
    )
    broken.chmod(0o755)
    result, _, statuses = run_gpu_benchmark(99, tmp_path / "b", python=broken)
    assert result.returncode == 1 and "all measurements failed" in result.stderr
    assert set(statuses.values()) == {3}


@pytest.mark.parametrize("arguments", [("5s", "o"), ("5", "o", "--smok"), ("0", "o")])
def test_gpu_benchmark_names_its_usage(arguments):
    result, _, _ = run_gpu_benchmark(*arguments)
    assert result.returncode == 2 and "usage: bash" in result.stderr


@pytest.mark.slow
def test_gpu_benchmark_runs_on_a_cpu_with_tiny_sizes(tmp_path):
    result, lines, statuses = run_gpu_benchmark(1800, tmp_path / "gpu", "--smoke")
    assert set(statuses.values()) == {0}, result.stderr
    assert set(statuses) == {
        "step-smoke", "input-float32", "input-bfloat16", "restore", "profile",
        "batch-smoke-bfloat16-8", "batch-smoke-float32-8",
    }  # fmt: skip
    tables = {(line["measurement"], line["table"], line["column"]) for line in lines}
    assert {
        ("step-smoke", "updates", "share_of_floor"), ("input-float32", "steps", "ratio"),
        ("restore", "batches", "megapixels_per_s"), ("profile", "profile", "share"),
    } <= tables  # fmt: skip


def test_a_missing_package_is_reported_before_anything_is_measured(tmp_path):
    (tmp_path / "grain.py").write_text("raise ModuleNotFoundError('no grain')")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    result, lines, _ = run_gpu_benchmark(30, tmp_path / "gpu", python=python)
    assert result.returncode == 1 and not lines
    assert "cannot run the benchmarks: ModuleNotFoundError: no grain" in result.stderr
