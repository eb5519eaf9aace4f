"""The longest operations of a profile."""

import time

import jax
import jax.numpy as jnp
import pytest

from ttl_jax.benchmarks import profiles


def test_times_exclude_operations_within():
    loop, body = ("while.1", 0, 10), [("add.2", 1, 3), ("mul.3", 3, 8)]
    inner, after = ("tanh", 4, 6), ("copy", 10, 11)
    events = [after, *body, inner, loop]
    own = dict(profiles.own_times(events))
    assert own == {"while.1": 3, "add.2": 2, "mul.3": 3, "tanh": 2, "copy": 1}


class Plane:
    """A plane of a profile: events of each line as (name, start, duration, stats)."""

    def __init__(self, name, **lines):
        self.name = name
        self.lines = [Line(line.replace("_", " "), lines[line]) for line in lines]


class Line:
    def __init__(self, name, events):
        self.name = name
        self.events = [Event(*event) for event in events]


class Event:
    def __init__(self, name, start_ns, duration_ns, *stats):
        self.name, self.start_ns, self.duration_ns = name, start_ns, duration_ns
        self.stats = [(stat, 0) for stat in stats]


def test_streams_of_gpus_count_once_and_without_the_host():
    host = Plane("/host:CPU", python=[("call", 0, 99)], pool=[("add", 0, 9, "hlo_op")])
    assert profiles._list_lines([host]) == [[], [("add", 0, 9)]]
    stream = [("kernel", 0, 5), ("kernel", 5, 5)]
    gpu = Plane("/device:GPU:0", Stream_7=stream, XLA_Ops=[("fusion", 0, 10)])
    assert profiles._list_lines([host, gpu]) == [[("kernel", 0, 5), ("kernel", 5, 10)]]


def test_a_profile_of_a_product_is_mostly_the_product(tmp_path):
    @jax.jit
    def multiply(x):
        return jnp.sin(x @ x)

    x = jnp.ones((600, 600))
    jax.block_until_ready(multiply(x))
    start = time.perf_counter()
    with jax.profiler.trace(tmp_path):
        for _ in range(3):
            jax.block_until_ready(multiply(x))
    elapsed = time.perf_counter() - start
    rows = profiles.largest(tmp_path)
    first = max(rows, key=lambda row: row["ms"])
    assert first is rows[0] and first["calls"] == 3 and first["share"] > 0.4
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert 0 < sum(row["ms"] for row in rows) < 1000 * elapsed * 8
