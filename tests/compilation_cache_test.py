"""Compiled programs that are kept between the starts of a command."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import pytest

from ttl_jax import compilation_cache

ROOT = pathlib.Path(__file__).parents[1]

# Prints a digest of a network's output and gradients, and how many programs were found.
COMPUTE = """
import hashlib, json
import jax, jax.numpy as jnp
from flax import nnx
from ttl_jax import compilation_cache, models
compilation_cache.enable()
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
graph, params = nnx.split(models.make_classifier(width=3, pools=(2,), rngs=nnx.Rngs(0)))
image = jax.random.uniform(jax.random.key(0), (1, 16, 16, 3))
loss = lambda params: jnp.square(nnx.merge(graph, params)(image) - 1).sum()
computed = jax.jit(jax.value_and_grad(loss))(params)
digest = hashlib.sha256(b"".join(leaf.tobytes() for leaf in jax.tree.leaves(computed)))
num_found = events.count("/jax/compilation_cache/cache_hits")
print(json.dumps([digest.hexdigest(), num_found]))
"""


@pytest.fixture
def environment(tmp_path):
    """The environment of a user without settings, except that small programs are kept too."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    del environment["JAX_COMPILATION_CACHE_DIR"]
    return environment


def start(environment):
    return subprocess.Popen(
        [sys.executable, "-W", "default", "-c", COMPUTE],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    return *json.loads(printed.splitlines()[-1]), errors


def test_programs_from_the_cache_compute_the_same_bits(environment):
    fresh, num_found, _ = finish(start(environment))
    assert num_found == 0
    kept, num_found, errors = finish(start(environment))
    assert num_found > 5 and not errors
    assert kept == fresh


@pytest.mark.slow
def test_two_processes_may_fill_the_cache_and_damaged_entries_are_ignored(
    environment, tmp_path
):
    first, second = [start(environment) for _ in range(2)]
    fresh = finish(first)[0]
    assert fresh == finish(second)[0] == finish(start(environment))[0]
    # Empty and truncated files, as on a full disk.
    for path in (tmp_path / "cache/ttl_jax/programs").rglob("*-cache"):
        path.write_bytes(path.read_bytes()[:100])
    again, num_found, _ = finish(start(environment))
    assert (again, num_found) == (fresh, 0)


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(
    tmp_path, monkeypatch, capsys
):
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        compilation_cache.enable()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        folder = os.environ["JAX_COMPILATION_CACHE_DIR"]
        jax.config.update("jax_compilation_cache_dir", folder)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Compiled programs are not kept: ") and "file" in line


def test_the_users_own_folder_is_used():
    compilation_cache.enable()
    own = os.environ["JAX_COMPILATION_CACHE_DIR"]
    assert jax.config.jax_compilation_cache_dir == own


def test_least_recently_used_files_are_removed(tmp_path):
    for age, name in enumerate(["new", "sub/middle", "old", "older"]):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10))
        os.utime(path, (1000 - age, 1000 - age))
    os.utime(tmp_path / "older", (2000, 10))  # read since
    compilation_cache.trim(tmp_path, max_bytes=25)
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == {"older", "new"}
