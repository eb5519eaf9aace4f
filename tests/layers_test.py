"""The imports of every file, against the table of allowed imports."""

import ast
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
STANDARD = sys.stdlib_module_names

# Any room may import these: they import no other room.
COMMON = {
    f"ttl_jax.{name}"
    for name in (
        "atomic_files",
        "memory",
        "progress",
        "slurm",
        "stopping",
        "suggestions",
        "threads",
        "user_paths",
    )
}

# What each room may import besides the standard library. A room is a file or a folder;
# the longest name that fits counts.
DATA = {"numpy", "scipy", "PIL", "absl", "tqdm"}  # no JAX: it runs in worker processes
FLAGS = {"ttl_jax.allocator", "ttl_jax.command_line", "ttl_jax.compilation_cache"}
ROOMS = {
    "ttl_jax/__init__": {
        "ml_collections", "ttl_jax.config_files", "ttl_jax.inference", "ttl_jax.reports",
        "ttl_jax.training",
    },
    "ttl_jax/__main__": {"ttl_jax"},
    "ttl_jax/config_files": set(),
    "ttl_jax/losses": {"jax", "flax", "numpy", "scipy", "einops", "optax"},
    "ttl_jax/metrics": {"jax", "flax", "numpy", "scipy", "einops", "ttl_jax.metrics"},
    "ttl_jax/models": {
        "jax", "flax", "numpy", "scipy", "einops", "ttl_jax.presets", "ttl_jax.models",
    },
    "ttl_jax/stages": {
        "jax", "flax", "numpy", "ttl_jax.stages.stage", "ttl_jax.stages.networks",
        "ttl_jax.stages.image_degradations", "ttl_jax.stages.teachers",
        "ttl_jax.models", "ttl_jax.losses", "ttl_jax.metrics",
    },
    # files <- rain, structures <- sources <- sets <- loading, never back
    "ttl_jax/data/__init__": {"ttl_jax.data.sources"},
    "ttl_jax/data/files": {"numpy", "PIL", "pillow_heif", "ttl_jax.data.files"},
    "ttl_jax/data/randomness": {"numpy"},
    "ttl_jax/data/rain": DATA | {
        "ttl_jax.data.randomness", "ttl_jax.data.files", "ttl_jax.data.rain",
    },
    "ttl_jax/data/structures": DATA | {
        "ttl_jax.data.randomness", "ttl_jax.data.files", "ttl_jax.data.structures",
    },
    "ttl_jax/data/sources": DATA | {
        "skimage", "sklearn", "tensorflow_datasets", "ttl_jax.data.randomness",
        "ttl_jax.data.files", "ttl_jax.data.rain", "ttl_jax.data.structures",
        "ttl_jax.data.sources",
    },
    "ttl_jax/data/sets": DATA | {
        "tensorflow_datasets", "ttl_jax.data.randomness", "ttl_jax.data.files",
        "ttl_jax.data.rain", "ttl_jax.data.sources", "ttl_jax.data.sets",
    },
    "ttl_jax/data/loading": DATA | {"grain", "ttl_jax.data"},
    "ttl_jax/weights": {
        "jax", "flax", "numpy", "orbax", "safetensors",
        "ttl_jax.models", "ttl_jax.weights",
    },
    # No stage, model or loss; what is on disk is the business of `weights`.
    "ttl_jax/training": {
        "jax", "flax", "numpy", "optax", "einops", "absl", "tqdm", "tensorboardX",
        "ttl_jax.config_fields", "ttl_jax.data.loading", "ttl_jax.stages.stage",
        "ttl_jax.training", "ttl_jax.weights",
    },
    "ttl_jax/inference": {
        "jax", "flax", "numpy", "absl", "tqdm", "PIL",
        "ttl_jax.data.files", "ttl_jax.models", "ttl_jax.weights", "ttl_jax.inference",
    },
    "ttl_jax/inference/onnx_graph": {"flax", "numpy", "onnx", "ttl_jax.models"},
    "ttl_jax/inference/exporting": {
        "jax", "numpy", "onnxruntime", "ttl_jax.models", "ttl_jax.weights",
        "ttl_jax.inference",
    },
    "ttl_jax/inference/engines": {
        "ttl_jax.allocator", "ttl_jax.compilation_cache", "ttl_jax.lite",
        "ttl_jax.inference.restorer",
    },
    # What restoring shares with and without JAX.
    "ttl_jax/inference/windows": {"numpy"},
    "ttl_jax/inference/window_batches": {"numpy"},
    "ttl_jax/inference/pixels": {"numpy"},
    "ttl_jax/inference/windowed": {
        "numpy", "ttl_jax.data.files", "ttl_jax.inference.pixels",
        "ttl_jax.inference.window_batches", "ttl_jax.inference.windows",
    },
    "ttl_jax/lite": {
        "numpy", "PIL", "onnxruntime", "ttl_jax.data.files", "ttl_jax.lite",
        "ttl_jax.inference.windowed",
    },
    # Frames and their files; the network is a function that it is given.
    "ttl_jax/inference/video": {
        "numpy", "av", "cv2", "ttl_jax.data.files.decoding",
        "ttl_jax.inference.file_jobs", "ttl_jax.inference.video",
    },
    "ttl_jax/inference/baselines": {
        "numpy", "scipy", "skimage", "ttl_jax.inference.pixels",
    },
    "ttl_jax/inference/processes": set(),
    "ttl_jax/reports": {
        "numpy", "pandas", "scipy", "sklearn", "PIL", "matplotlib", "tqdm", 
        "ttl_jax.metrics", "ttl_jax.inference", "ttl_jax.data", "ttl_jax.reports",
        "ttl_jax.weights",
    },
    "ttl_jax/web": {
        "numpy", "pandas", "matplotlib", "PIL", "starlette", "uvicorn",
        "ttl_jax.data.files", "ttl_jax.inference", "ttl_jax.metrics",
        "ttl_jax.reports.markdown", "ttl_jax.reports.report_files", "ttl_jax.web",
    },
    "ttl_jax/benchmarks": {
        "jax", "flax", "numpy", "PIL", "tqdm", "configs", 
        "ttl_jax.benchmarks", "ttl_jax.data", "ttl_jax.inference", "ttl_jax.metrics",
        "ttl_jax.models", "ttl_jax.stages.stage", "ttl_jax.training", "ttl_jax.weights",
    },
    # Processes of PyTorch import no JAX.
    "ttl_jax/benchmarks/worker_processes": set(),
    "ttl_jax/benchmarks/torch_peers": {"ttl_jax.benchmarks.worker_processes"},
    "ttl_jax/allocator": set(),
    "ttl_jax/config_fields": set(),
    "ttl_jax/atomic_files": set(),
    "ttl_jax/memory": set(),
    "ttl_jax/presets": set(),
    "ttl_jax/progress": {"tqdm"},
    "ttl_jax/slurm": set(),
    "ttl_jax/stopping": set(),
    "ttl_jax/suggestions": set(),
    "ttl_jax/threads": set(),
    "ttl_jax/user_paths": set(),
    "ttl_jax/command_line": {"ttl_jax.allocator"},
    "ttl_jax/compilation_cache": {"jax"},
    # Commands: flags, then one call of a library.
    "ttl_jax/main": FLAGS
    | {"absl", "ml_collections", "ttl_jax.config_files", "ttl_jax.training"},
    "ttl_jax/analyze": FLAGS | {"ttl_jax.inference", "ttl_jax.reports"},
    "ttl_jax/derain": FLAGS | {
        "ttl_jax.__version__", "ttl_jax.inference",
    },
    "ttl_jax/export": FLAGS | {"ttl_jax.inference.exporting", "ttl_jax.web.site"},
    "ttl_jax/evaluate": FLAGS | {"ttl_jax.metrics", "ttl_jax.reports", "ttl_jax.weights"},
    "ttl_jax/pack": FLAGS | {"ttl_jax.weights"},
    "ttl_jax/serve": FLAGS | {"ttl_jax.inference", "ttl_jax.web"},
    "ttl_jax/study": FLAGS | {"ttl_jax.web"},
    "ttl_jax/sheet": FLAGS | {"ttl_jax.metrics", "ttl_jax.reports"},
    "ttl_jax/benchmark": FLAGS | {"ttl_jax.benchmarks", "ttl_jax.presets"},
    "ttl_jax/prepare": FLAGS | {"ttl_jax.data", "ttl_jax.reports"},
    "configs": {
        "ml_collections", "configs", "ttl_jax.config_fields", "ttl_jax.presets",
    },
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


def test_files_import_only_what_their_rooms_may():
    forbidden = []
    for name in FILES:
        room = room_of(name)
        assert room, f"{name} lies in no room of the table"
        allowed = ROOMS[room] | COMMON
        forbidden += [
            f"{name}: {imported}"
            for imported in imports_of(name)
            if imported.split(".")[0] not in STANDARD
            and not any(is_within(imported, other) for other in allowed)
        ]
    assert not forbidden


def test_the_check_sees_a_forbidden_import():
    assert not is_within("jax.numpy", "jaxtyping")
    assert not any(is_within("jax", a) for a in ROOMS["ttl_jax/data/files"])
    assert room_of("ttl_jax/inference/baselines") == "ttl_jax/inference/baselines"


def test_data_can_be_imported_without_jax():
    # Grain imports JAX where there is one, so that it is hidden here.
    code = "import sys; sys.modules['jax'] = None; import ttl_jax.data.loading.pipeline"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert result.returncode == 0
