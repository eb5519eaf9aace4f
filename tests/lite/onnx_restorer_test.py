"""Restoring by onnxruntime, against restoring by JAX."""

import os
import subprocess
import sys

import numpy as np
import pytest

import ttl_jax
from tests.inference import exporting_test
from ttl_jax import lite
from ttl_jax.inference import exporting, restorer
from ttl_jax.lite import onnx_restorer
from ttl_jax.weights import trained

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A restorer of each engine, with the same weights, in the smallest windows."""
    folder = tmp_path_factory.mktemp("run")
    encoder, decoder = exporting_test.save_run(folder / "run")
    made = exporting.make(str(folder / "run"), ".onnx", side=576)
    exporting.write(made, folder / "net.onnx")
    with_jax = restorer.Restorer(encoder, decoder, name="run", side=576)
    return with_jax, lite.load(folder / "net.onnx")


@pytest.mark.parametrize("shape", [(5, 7, 3), (40, 100), (400, 30, 4), (30, 700, 2)])
def test_both_engines_give_the_same_pixels(both, shape):
    with_jax, without = both
    image = np.random.default_rng(0).random(shape)
    expected = with_jax.restore(image, strength=0.9, ensemble=True)
    found = without.restore(image, strength=0.9, ensemble=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_packed_file_holds_the_shipped_weights():
    from ttl_jax.inference import onnx_graph

    networks, _ = trained.rebuild(None, restorer.Restorer.factories, purpose="")
    packed = onnx.load(onnx_restorer.PACKED)
    metadata = {entry.key: entry.value for entry in packed.metadata_props}
    made = onnx_graph.make(**networks, dtype=np.float32, metadata=metadata)  # pyright: ignore[reportArgumentType]
    assert made.graph == packed.graph, "write it again: python -m ttl_jax.export"
    assert lite.load().digest == restorer.digest(**networks)  # pyright: ignore[reportArgumentType]
    assert onnx_restorer.PACKED.stat().st_size < 2.5e6


@pytest.mark.slow
def test_the_packed_weights_restore_as_the_shipped_ones():
    image = np.random.default_rng(0).random((120, 250, 3))
    expected = ttl_jax.load().restore(image)
    assert np.abs(expected - image).max() > 0.05
    np.testing.assert_allclose(lite.load().restore(image), expected, atol=1e-3)


def test_other_files_are_refused_with_their_name(tmp_path):
    path = tmp_path / "net.onnx"
    with pytest.raises(ValueError, match=r"net.onnx cannot be read: No such file"):
        lite.load(path)
    path.write_bytes(b"no protobuf")
    with pytest.raises(ValueError, match=r"net.onnx cannot be read"):
        lite.load(path)
    packed = onnx.load(onnx_restorer.PACKED)
    del packed.metadata_props[:]
    onnx.save(packed, path)
    with pytest.raises(ValueError, match="no metadata of ttl_jax; write it by"):
        lite.load(path)


def test_without_onnxruntime_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(onnx_restorer, "is_installed", lambda: False)
    with pytest.raises(ValueError, match="pip install onnxruntime"):
        lite.load()


@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2,
    reason="This process may use one CPU only.",
)
def test_all_threads_stay_on_the_cpus_of_the_process():
    program = """
import os, pathlib
from ttl_jax import lite
cpu = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {cpu})
restorer = lite.load()
for status in pathlib.Path("/proc/self/task").glob("*/status"):
    (line,) = [x for x in status.read_text().splitlines() if "Cpus_allowed_list" in x]
    assert line.split()[1] == str(cpu), line
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
