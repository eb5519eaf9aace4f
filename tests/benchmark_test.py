"""The benchmarks: what they compare, and the command."""

import itertools
import json

import pytest

from ttl_jax import benchmark
from ttl_jax.benchmarks import input as input_benchmark


@pytest.fixture
def data(photographs):
    return {"PNG": {"clean": f"folder:{photographs}", "pairs": f"folder:{photographs}"}}


def test_rates_are_of_every_reader_over_the_loop_on_the_same_files(data, monkeypatch):
    numbers = itertools.count(2)
    monkeypatch.setattr(
        input_benchmark, "_rate", lambda read, seconds: read() * next(numbers)
    )
    rates = input_benchmark.measure_crops(data, 16, [1, 2], rounds=1, seconds=0.0)
    cases = [(rate.task, rate.reader, rate.threads) for rate in rates]
    read = [("Pillow loop", 1), ("files", 1), ("files", 2), ("cache", 1), ("cache", 2)]
    rain = [("live rain", 1), ("live rain", 2)]
    assert cases == [
        *[("recon", *reader) for reader in read],
        *[("derain", *reader) for reader in read + rain],
    ]
    crops = 8  # of a batch
    assert [rate.crops_per_second / crops for rate in rates] == [*range(2, 14)]
    assert [rate.over_loop for rate in rates] == pytest.approx(
        [i / 2 for i in range(2, 7)] + [i / 7 for i in range(7, 14)]
    )


def test_the_median_of_alternating_turns_counts():
    turns = []
    values = {"a": iter([5.0, 1.0, 9.0]), "b": iter([2.0, 2.0, 8.0])}

    def measure(case):
        turns.append(case)
        return next(values[case])

    medians = input_benchmark._take_turns({("a",): "a", ("b",): "b"}, 3, measure)
    assert turns == ["a", "b"] * 3
    assert medians == {("a",): 5.0, ("b",): 2.0}


@pytest.mark.slow
def test_the_command_prints_tables_and_writes_them_as_json(data, tmp_path, capsys):
    sources = [f"--{field}={source}" for field, source in data["PNG"].items()]
    flags = ["--preset=smoke", "--crop_size=32", "--rounds=1", "--seconds=0.1"]
    output = tmp_path / "speed"
    assert benchmark.main(["input", *sources, *flags, f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    assert "| recon | given | cache | 4 |" in printed
    figures = json.loads((output / input_benchmark.TABLES).read_text())
    assert len(figures["crops"]) == 7 + 10
    for step in figures["steps"]:
        assert step["ratio"] == pytest.approx(step["fed"] / step["resident"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["inputs"], "invalid choice: 'inputs'"),
        (["input", "--rounds=0"], "expected a number from 1, not '0'"),
        (["input", "--clean=sample"], "both photographs and pairs, or neither"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        benchmark.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
