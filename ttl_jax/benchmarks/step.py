"""How long an update of each stage takes, with a batch that lies on the device.

Teachers and students have random weights: their values change nothing.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from flax import nnx

from ttl_jax.benchmarks import timing, yardstick
from ttl_jax.data import datasets
from ttl_jax.models import complexity
from ttl_jax.stages.stage import Stage, make_stage
from ttl_jax.training import config_check, flat_params, loop, sharding
from ttl_jax.training.state import Loaded

TABLES = "benchmark_step.json"

_STEPS = 4  # in a turn


@dataclasses.dataclass(frozen=True)
class Update:
    """An update of one stage.

    Attributes:
      preset: Of the networks.
      stage: Which one.
      dtype: Type the networks compute in.
      params_m: Parameters that learn, millions.
      gmacs_per_image: Multiply-adds of the whole update over its images, 10^9.
      compile_s: Seconds to compile.
      ms: Milliseconds, median of the rounds.
      images_per_s: Of the same.
      peak_mib: Memory beside weights and batch, by the compiler's account.
      share_of_peak: Operations over the time, over those of a large matrix product.
    """

    preset: str
    stage: str
    dtype: str
    params_m: float
    gmacs_per_image: float
    compile_s: float
    ms: float
    images_per_s: float
    peak_mib: float
    share_of_peak: float


@dataclasses.dataclass
class _Program:
    """A compiled update with what is known of it, and the state that it goes on with."""

    step: Callable
    state: object
    frozen: object
    batch: object
    num_params: int
    multiply_adds: int
    compile_seconds: float
    temporary_bytes: int

    def run(self) -> None:
        for _ in range(_STEPS):
            self.state, _ = self.step(self.state, self.frozen, self.batch)
        jax.block_until_ready(self.state)


def run(
    *,
    presets: Sequence[str],
    stages: Sequence[str],
    dtypes: Sequence[str],
    crop_size: int,
    batch_size: int,
    rounds: int,
    profile: str | None,
    output: str | None,
) -> str:
    """Measures the updates of all stages, presets and types side by side.

    Args:
      presets: Of `configs/common.py`.
      stages: recog, recon, distill, derain.
      dtypes: "float32", "bfloat16".
      crop_size: In pixels.
      batch_size: Images of a batch.
      rounds: Turns of every case.
      profile: Folder for a trace of one turn of each case; None for none.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as a Markdown table.

    Raises:
      ValueError: If a value is at fault.
      OSError: If a file cannot be written.
    """
    programs = {
        (preset, stage, dtype): _compile(preset, stage, dtype, crop_size, batch_size)
        for preset in presets
        for stage in stages
        for dtype in dtypes
    }
    products = {dtype: yardstick.matrix_product(dtype) for dtype in dtypes}
    cases = {case: program.run for case, program in programs.items()}
    cases |= {(dtype,): product for dtype, (product, _) in products.items()}
    seconds = timing.take_turns(cases, rounds, _seconds)
    if profile is not None:
        with jax.profiler.trace(profile):
            for program in programs.values():
                program.run()
    peaks = {
        dtype: operations / seconds[(dtype,)]
        for dtype, (_, operations) in products.items()
    }
    rows = [
        _describe(case, program, seconds[case] / _STEPS, batch_size, peaks[case[2]])
        for case, program in programs.items()
    ]
    if output is not None:
        timing.write_json(output, TABLES, {"updates": rows})
    machine = f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    crops = f"{batch_size} crops of {crop_size} pixels"
    title = f"Updates with {crops} on {machine}, {rounds} turns of {_STEPS}:\n"
    return "\n".join([title, timing.tabulate(Update, rows)])


def _describe(
    case: tuple[str, str, str],
    program: _Program,
    seconds: float,
    batch_size: int,
    peak: float,
) -> Update:
    preset, stage, dtype = case
    return Update(
        preset=preset,
        stage=stage,
        dtype=dtype,
        params_m=program.num_params / 1e6,
        gmacs_per_image=program.multiply_adds / batch_size / 1e9,
        compile_s=program.compile_seconds,
        ms=1000 * seconds,
        images_per_s=batch_size / seconds,
        peak_mib=program.temporary_bytes / 2**20,
        share_of_peak=2 * program.multiply_adds / seconds / peak,
    )


def _compile(
    preset: str, stage_name: str, dtype: str, crop_size: int, batch_size: int
) -> _Program:
    config = importlib.import_module(f"configs.{stage_name}").get_config(preset)
    config.compute_dtype, config.batch_size = dtype, batch_size
    config.crop_size, config.crop_sizes = crop_size, ()
    mesh = sharding.make_mesh()
    config_check.check(config)
    config_check.check_batches(config, mesh)
    stage = make_stage(config)
    computation, state = loop.make_computation(
        config, stage, mesh, _load_random(stage), epoch_steps=1
    )
    frozen = computation.networks.frozen
    batch = sharding.place_batch(mesh, _make_batch(config))
    start = time.perf_counter()
    step = computation.train_step.lower(state, frozen, batch).compile()
    program = _Program(
        step,
        state,
        frozen,
        batch,
        num_params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        multiply_adds=complexity.multiply_adds(
            computation.train_step, state, frozen, batch
        ),
        compile_seconds=time.perf_counter() - start,
        temporary_bytes=step.memory_analysis().temp_size_in_bytes,
    )
    program.run()
    return program


def _load_random(stage: Stage) -> Loaded:
    """Random weights in place of those of earlier runs."""
    params = {
        name: flat_params.split_module(stage.modules[name](rngs=nnx.Rngs(i)))[1]
        for i, name in enumerate(stage.init_from)
    }
    networks = {name: stage.describe_module(name) for name in params}
    origins = {name: {"run": "random", "module": name} for name in params}
    return Loaded(params, networks, origins)


def _make_batch(config) -> dict[str, np.ndarray]:
    """A batch of noise, of the form that the stage reads."""
    rng = np.random.default_rng(0)
    size = config.crop_size + 2 * config.get("crop_margin", 0)
    rows, kind = config.batch_size, datasets.KINDS[config.dataset]
    images = ("rainy", "clean") if kind.fields == ("pairs",) else ("image",)
    batch = {
        name: rng.integers(0, 256, (rows, size, size, 3), np.uint8) for name in images
    }
    if kind.rows_per_element == 2:
        batch["label"] = np.tile(np.array([1, 0], np.float32), rows // 2)
    return {**batch, "replaced": np.zeros(rows, np.float32)}


def _seconds(run_turn: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run_turn())
    return time.perf_counter() - start
