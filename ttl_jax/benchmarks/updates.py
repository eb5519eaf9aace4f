"""Time of an update of each stage, with a batch that is already on the device.

Networks have random weights and batches are noise, since values do not affect the time. The
columns are

- preset, stage and data type of the computation;
- millions of trainable parameters; 10^9 multiply-adds of the update per image;
- seconds to compile; milliseconds, median of the measurements; images per second;
- memory in addition to weights and batch, reported by the compiler;
- operations per second, divided by those of a large matrix product;
- the floor: milliseconds to move the bytes of `traffic` at the speed of changing a large
  array; and its share of the time.

With a profile, a second table has the operations of all variants that take the most time.
"""

import dataclasses
import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from ttl_jax.benchmarks import profiles, timing, traffic, yardstick
from ttl_jax.data.loading import datasets
from ttl_jax.models import complexity
from ttl_jax.stages.stage import Stage, make_stage
from ttl_jax.training import config_check, loop, sharding
from ttl_jax.training.origins import Loaded
from ttl_jax.weights import flat_params

TABLES = "benchmark_step.json"
STEPS = 4  # updates per measurement


@dataclasses.dataclass
class Program:
    """A compiled update of a stage, its arguments (`state` is the next one), and its sizes."""

    config: Any
    stage: Stage
    step: Callable
    state: Any
    frozen: object
    batch: object
    num_params: int
    multiply_adds: int
    compile_seconds: float
    temporary_bytes: int

    def run(self, num_steps: int = STEPS) -> None:
        """Updates several times and waits for the result."""
        for _ in range(num_steps):
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
    """Measures updates of all presets, stages and types."""
    programs = {
        case: compile_update(*case, crop_size, batch_size)
        for case in itertools.product(presets, stages, dtypes)
    }
    mesh = sharding.make_mesh()
    products = {dtype: yardstick.matrix_product(dtype, mesh) for dtype in dtypes}
    copy, copied_bytes = yardstick.copy(mesh)
    cases = {case: program.run for case, program in programs.items()}
    cases |= {(dtype,): product for dtype, (product, _) in products.items()}
    seconds = timing.take_turns(cases | {("copy",): copy}, rounds)
    if profile is not None:
        with jax.profiler.trace(profile):
            for program in programs.values():
                program.run()
    rows = []
    for case, program in programs.items():
        elapsed, (_, operations) = seconds[case] / STEPS, products[case[2]]
        floor_seconds = _floor_bytes(program) * seconds[("copy",)] / copied_bytes
        peak = operations / seconds[case[2:]]
        rows.append(
            {
                **dict(zip(("preset", "stage", "dtype"), case)),
                "params_m": program.num_params / 1e6,
                "gmacs_per_image": program.multiply_adds / batch_size / 1e9,
                "compile_s": program.compile_seconds,
                "ms": 1000 * elapsed,
                "images_per_s": batch_size / elapsed,
                "peak_mib": program.temporary_bytes / 2**20,
                "share_of_peak": 2 * program.multiply_adds / elapsed / peak,
                "floor_ms": 1000 * floor_seconds,
                "share_of_floor": floor_seconds / elapsed,
            }
        )
    title = (
        f"Updates with {batch_size} crops of {crop_size} pixels on {jax.device_count()} x "
        f"{jax.devices()[0].device_kind}, {rounds} turns of {STEPS}"
    )
    tables = {"updates": timing.Table(title, rows)}
    if profile is not None and (operations := profiles.largest(profile)):
        title = f"Operations that take the most time in {len(programs) * STEPS} updates"
        tables["profile"] = timing.Table(title, operations)
    return timing.report(tables, output, TABLES)


def compile_update(
    preset: str,
    stage_name: str,
    dtype: str,
    crop_size: int,
    batch_size: int,
    *,
    fsdp: bool = False,
    encoder: Mapping[str, Any] = {},
) -> Program:
    """Compiles the update of a stage over all devices, and updates once.

    Args:
      stage_name: Config of a stage: recog, recon, distill, derain, scratch, restormer or
        nafnet.
      dtype: "float32" or "bfloat16".
      fsdp: Whether weights and optimizer state are spread over the devices.
      encoder: Changed fields of `config.encoder`.

    Raises:
      ValueError: If a value is invalid.
    """
    config = importlib.import_module(f"configs.{stage_name}").get_config(preset)
    config.compute_dtype, config.batch_size = dtype, batch_size
    config.crop_size, config.crop_sizes = crop_size, ()
    config.fsdp = fsdp
    config.encoder.update(encoder)
    mesh = sharding.make_mesh()
    config_check.check(config)
    config_check.check_batches(config, mesh)
    stage = make_stage(config)
    computation, state = loop.make_computation(
        config, stage, mesh, _load_random(stage), epoch_steps=1
    )
    frozen = computation.networks.frozen
    batch = sharding.place_batch(mesh, _make_batch(config))
    arguments = state, frozen, batch
    step, compile_seconds, memory = timing.compile(computation.train_step, *arguments)
    program = Program(
        config,
        stage,
        step,
        *arguments,
        num_params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        multiply_adds=complexity.multiply_adds(computation.train_step, *arguments),
        compile_seconds=compile_seconds,
        temporary_bytes=memory,
    )
    program.run(num_steps=1)
    return program


def _floor_bytes(program: Program) -> float:
    """Returns the minimum number of bytes that an update must move."""
    config, stage, numbers = program.config, program.stage, 0.0
    for name in stage.modules:
        network = traffic.describe(
            stage.describe_module(name), config.encoder.stem_stride, config.crop_size
        )
        if name in stage.trainable:
            numbers += network.update()
            continue
        numbers += network.inference()  # features of the teacher
        if name.endswith("decoder"):  # also reads features of the student
            numbers += network.passed_through()
    pixels = config.batch_size * config.crop_size**2
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(program.state.params))
    return (
        numbers * pixels * np.dtype(config.compute_dtype).itemsize
        + sum(traffic.WEIGHT_ACCESSES.values()) * weights
    )


def _load_random(stage: Stage) -> dict[str, Loaded]:
    """Returns random weights instead of those of earlier runs."""
    loaded = {}
    for i, name in enumerate(stage.init_from):
        _, params = flat_params.split_module(stage.modules[name](rngs=nnx.Rngs(i)))
        origin = {"run": "random", "module": name}
        loaded[name] = Loaded(params, stage.describe_module(name), origin)
    return loaded


def _make_batch(config) -> dict[str, np.ndarray]:
    """Returns a batch of noise with the fields that the stage reads."""
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
