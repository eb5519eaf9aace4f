"""Who may import whom: every file's imports against the table of rooms."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
STANDARD = {
    "abc", "argparse", "base64", "bisect", "collections", "concurrent", "contextlib", "csv",
    "dataclasses", "difflib", "errno", "fcntl", "functools", "glob", "hashlib", "html",
    "importlib", "io", "itertools", "json", "logging", "math", "multiprocessing", "os",
    "pathlib", "re",
    "shutil", "signal", "socket", "stat", "statistics", "sys", "tempfile", "threading", "time",
    "traceback", "typing", "warnings", "zlib",
}  # fmt: skip

# What each room may import besides the standard library. A room is a file or a folder;
# the longest name that fits counts.
ROOMS = {
    "ttl_jax/__init__": {"ttl_jax.inference"},
    "ttl_jax/losses": {"jax", "flax", "numpy", "scipy", "einops", "chex", "optax"},
    "ttl_jax/metrics": {"jax", "flax", "numpy", "scipy", "einops", "ttl_jax.metrics"},
    "ttl_jax/models": {"jax", "flax", "numpy", "scipy", "einops", "ttl_jax.models"},
    "ttl_jax/data": {
        "numpy", "scipy", "grain", "tensorflow_datasets", "PIL", "skimage", "sklearn",
        "absl", "tqdm", "ttl_jax.data",
    },
    "ttl_jax/stages": {
        "jax", "flax", "numpy", "ttl_jax.stages.stage", "ttl_jax.stages.networks",
        "ttl_jax.models", "ttl_jax.losses", "ttl_jax.metrics",
    },
    "ttl_jax/training": set(),
    "ttl_jax/training/optimizer": {"jax", "optax"},
    "ttl_jax/training/flat_params": {"jax", "numpy", "flax"},
    "ttl_jax/training/fingerprints": {"jax", "numpy"},
    "ttl_jax/training/durable_files": {"ttl_jax.atomic_files"},
    "ttl_jax/training/weight_files": {
        "numpy", "safetensors", "ttl_jax.training.durable_files",
        "ttl_jax.training.fingerprints", "ttl_jax.training.flat_params",
    },
    "ttl_jax/training/weight_sources": {"ttl_jax.training", "ttl_jax.weights"},
    "ttl_jax/training/saved_runs": {
        "jax", "numpy", "orbax", "ttl_jax.training.fingerprints",
        "ttl_jax.training.flat_params",
    },
    "ttl_jax/training/checkpoint": {
        "jax", "orbax", "ttl_jax.training.fingerprints", "ttl_jax.training.flat_params",
        "ttl_jax.training.saved_runs",
    },
    "ttl_jax/training/sharding": {"jax", "numpy"},
    "ttl_jax/training/failures": {"jax"},
    "ttl_jax/training/metric_writer": {"absl", "tensorboardX"},
    "ttl_jax/training/config_check": {"jax", "ttl_jax.training"},
    "ttl_jax/training/runs": {"ttl_jax.training"},
    "ttl_jax/training/samples": {"numpy"},
    "ttl_jax/training/stopping": set(),
    "ttl_jax/training/state": {
        "jax", "flax", "numpy", "optax", "absl", "ttl_jax.stages.stage",
        "ttl_jax.training",
    },
    "ttl_jax/training/step": {
        "jax", "flax", "einops", "optax", "ttl_jax.stages.stage", "ttl_jax.training",
    },
    "ttl_jax/training/train_log": {"jax", "numpy"},
    "ttl_jax/training/loop": {
        "jax", "numpy", "optax", "tqdm", "absl", "ttl_jax.stages.stage", "ttl_jax.training",
        "ttl_jax.data.pipeline",
    },
    "ttl_jax/inference": {
        "ttl_jax.atomic_files", "jax", "flax", "numpy", "PIL", "absl", "tqdm", "ttl_jax.models",
        "ttl_jax.training.fingerprints", "ttl_jax.training.flat_params",
        "ttl_jax.training.durable_files", "ttl_jax.training.saved_runs",
        "ttl_jax.training.weight_sources", "ttl_jax.data", "ttl_jax.weights",
        "ttl_jax.inference",
    },
    "ttl_jax/inference/baselines": {"numpy", "scipy", "skimage"},
    "ttl_jax/inference/processes": set(),
    "ttl_jax/reports": {
        "numpy", "scipy", "sklearn", "PIL", "matplotlib", "tqdm", "ttl_jax.atomic_files",
        "ttl_jax.metrics", "ttl_jax.inference", "ttl_jax.data", "ttl_jax.reports",
        "ttl_jax.weights",
    },
    "ttl_jax/main": {
        "absl", "ml_collections", "ttl_jax.allocator", "ttl_jax.compilation_cache", "ttl_jax.training.failures",
        "ttl_jax.training.loop", "ttl_jax.training.runs", "ttl_jax.training.sharding",
        "ttl_jax.training.stopping",
    },
    "ttl_jax/allocator": set(),
    "ttl_jax/atomic_files": set(),
    "ttl_jax/command_line": set(),
    "ttl_jax/compilation_cache": {"jax"},
    "ttl_jax/analyze": {
        "ttl_jax.allocator", "ttl_jax.command_line", "ttl_jax.compilation_cache", "ttl_jax.inference", "ttl_jax.reports",
    },
    "ttl_jax/derain": {
        "ttl_jax.allocator", "ttl_jax.command_line", "ttl_jax.compilation_cache", "ttl_jax.inference",
        "ttl_jax.training.stopping",
    },
    "ttl_jax/evaluate": {
        "ttl_jax.allocator", "ttl_jax.command_line", "ttl_jax.compilation_cache", "tqdm", "ttl_jax.inference",
        "ttl_jax.metrics", "ttl_jax.reports", "ttl_jax.weights",
    },
    "ttl_jax/pack": {"ttl_jax.command_line", "ttl_jax.training.weight_sources"},
    "ttl_jax/sheet": {
        "ttl_jax.command_line", "ttl_jax.compilation_cache", "ttl_jax.metrics", "ttl_jax.reports",
    },
    "ttl_jax/benchmark": {"ttl_jax.allocator", "ttl_jax.command_line", "ttl_jax.benchmarks"},
    "ttl_jax/benchmarks": {
        "ttl_jax.atomic_files", "jax", "flax", "numpy", "PIL", "tqdm", "configs", "ttl_jax.benchmarks",
        "ttl_jax.data", "ttl_jax.models", "ttl_jax.stages.stage", "ttl_jax.training",
    },
    "ttl_jax/benchmarks/restore": {
        "jax", "flax", "numpy", "configs", "ttl_jax.benchmarks", "ttl_jax.inference.programs",
        "ttl_jax.inference.restorer", "ttl_jax.models", "ttl_jax.stages.stage",
    },
    "ttl_jax/benchmarks/sums": {
        "jax", "flax", "configs", "ttl_jax.benchmarks", "ttl_jax.inference.programs",
        "ttl_jax.stages.stage",
    },
    "ttl_jax/benchmarks/windows": {
        "jax", "numpy", "ttl_jax.benchmarks", "ttl_jax.data.sources", "ttl_jax.inference",
        "ttl_jax.metrics", "ttl_jax.weights",
    },
    "ttl_jax/benchmarks/torch_block": {
        "numpy", "torch", "ttl_jax.models", "ttl_jax.training.flat_params",
    },
    "ttl_jax/prepare": {
        "ttl_jax.atomic_files", "ttl_jax.command_line", "ttl_jax.data", "ttl_jax.reports",
    },
    "ttl_jax/weights": set(),
    "configs": {"ml_collections", "configs"},
}  # fmt: skip

FILES = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix()
    for room in ("ttl_jax", "configs")
    for path in (ROOT / room).rglob("*.py")
)


def imports_of(name):
    """Dotted names of all a file imports, `from a import b` as a.b."""
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(name):
    rooms = [room for room in ROOMS if name == room or name.startswith(f"{room}/")]
    return max(rooms, key=len, default=None)


def is_within(imported, allowed):
    return imported == allowed or imported.startswith(f"{allowed}.")


@pytest.mark.parametrize("name", FILES)
def test_file_imports_only_what_its_room_may(name):
    room = room_of(name)
    assert room, f"{name} lies in no room of the table"
    allowed = ROOMS[room] | STANDARD
    for imported in imports_of(name):
        assert any(is_within(imported, a) for a in allowed), f"{name}: {imported}"


def test_the_check_sees_a_forbidden_import():
    assert not is_within("jax.numpy", "jaxtyping")
    assert not any(is_within("jax", a) for a in ROOMS["ttl_jax/data"] | STANDARD)
    assert room_of("ttl_jax/training/checkpoint") == "ttl_jax/training/checkpoint"


def test_data_is_imported_where_jax_is_not():
    # Grain imports JAX where there is one, so that it is hidden here.
    code = "import sys; sys.modules['jax'] = None; import ttl_jax.data.pipeline"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert result.returncode == 0
