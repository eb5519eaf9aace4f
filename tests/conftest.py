"""Settings of all tests: warnings are errors, and there are four CPU devices."""

import importlib.metadata
import os
import tempfile

# Read by JAX when it is imported, here and in the processes that tests start. Tests that
# build the same network compile it once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most time is compiling
# XLA's older code generator, which later versions lack, compiles in half the time.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share what their parent made
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="ttl_jax_tests_")
    os.environ["XDG_CACHE_HOME"] = os.environ["JAX_COMPILATION_CACHE_DIR"]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import shutil
import sys
import types

import jax
import numpy as np
import pytest
from PIL import Image

from ttl_jax import inference
from ttl_jax.inference import engines

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_sessionfinish():
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def replace_network(monkeypatch):
    """Replaces every checkpoint except `missing` by a function of arrays.

    Called with the function, it returns a list of the checkpoints loaded from then on.
    """

    def replace(restore):
        loaded = []

        class Restorer:
            name, digest, batch_size = "run", "0123456789abcdef", 1

            @classmethod
            def from_checkpoint(cls, path=None):
                if path == "missing":
                    raise ValueError("missing holds no checkpoint")
                loaded.append(path)
                return cls()

            def check_pixels(self, num_pixels):
                del num_pixels

            def is_too_small(self, height, width):
                return min(height, width) < 2

            def restore(self, array, *, progress=lambda done, total: None, **_):
                progress(0, 1)
                restored = restore(array)
                progress(1, 1)
                return restored

        module = types.ModuleType("ttl_jax.inference.restorer")
        module.Restorer = Restorer
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(engines, "choose", lambda engine, checkpoint: "jax")
        monkeypatch.setattr(inference, "restorer", module, raising=False)
        return loaded

    return replace


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    """A folder of pairs: smooth colours, and the same with bright streaks."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(4):
        coarse = rng.integers(30, 200, (6, 5, 3), dtype=np.uint8)
        clean = Image.fromarray(coarse).resize((52, 60), Image.Resampling.BICUBIC)
        rainy = np.array(clean)
        for x in rng.integers(0, 52, 12):
            top = rng.integers(0, 40)
            rainy[top : top + 20, x] = 230
        for side, image in (("clean", clean), ("rainy", Image.fromarray(rainy))):
            (root / side).mkdir(exist_ok=True)
            image.save(root / side / f"{i}.png")
    return root
