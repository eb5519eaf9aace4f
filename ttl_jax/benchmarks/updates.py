"""Compiled updates of the stages, with random weights and batches of noise."""

import dataclasses
import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from ttl_jax.data.loading import datasets
from ttl_jax.models import complexity, traffic
from ttl_jax.stages.stage import Stage, make_stage
from ttl_jax.training import config_check, loop, sharding
from ttl_jax.training.state import Loaded
from ttl_jax.weights import flat_params

STEPS = 4  # in a turn


@dataclasses.dataclass
class Program:
    """A compiled update with what is known of it, and the state that it goes on with.

    Attributes:
      step: The compiled update.
      state: Before the next one.
      frozen: Weights that do not learn.
      batch: On the devices.
      num_params: That learn.
      multiply_adds: Of an update.
      floor_bytes: That an update must move, see `traffic`.
      compile_seconds: That compiling took.
      temporary_bytes: Of memory beside state and batch, by the compiler's account.
    """

    step: Callable
    state: object
    frozen: object
    batch: object
    num_params: int
    multiply_adds: int
    floor_bytes: float
    compile_seconds: float
    temporary_bytes: int

    def run(self) -> None:
        """Updates `STEPS` times and waits for the result."""
        for _ in range(STEPS):
            self.state, _ = self.step(self.state, self.frozen, self.batch)
        jax.block_until_ready(self.state)


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
    """Compiles the update of a stage over all devices, and runs a turn.

    Args:
      preset: Of `configs/common.py`.
      stage_name: recog, recon, distill or derain.
      dtype: "float32" or "bfloat16".
      crop_size: In pixels.
      batch_size: Images of a batch.
      fsdp: Whether the devices share weights and optimizer state.
      encoder: Fields of `config.encoder` to change.

    Raises:
      ValueError: If a value is at fault.
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
    start = time.perf_counter()
    step = computation.train_step.lower(state, frozen, batch).compile()
    compile_seconds = time.perf_counter() - start
    program = Program(
        step,
        state,
        frozen,
        batch,
        num_params=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        multiply_adds=complexity.multiply_adds(
            computation.train_step, state, frozen, batch
        ),
        floor_bytes=_floor_bytes(config, stage, state),
        compile_seconds=compile_seconds,
        temporary_bytes=step.memory_analysis().temp_size_in_bytes,
    )
    program.run()
    return program


def _floor_bytes(config, stage: Stage, state) -> float:
    """Bytes that an update must move at least."""
    numbers = 0.0
    for name in stage.modules:
        network = traffic.describe(
            stage.describe_module(name), config.encoder.stem_stride
        )
        if name in stage.trainable:
            numbers += network.update()
            continue
        numbers += network.inference()  # the teacher
        if name.endswith("decoder"):  # which the student's features pass too
            numbers += network.passed_through()
    pixels = config.batch_size * config.crop_size**2
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    return (
        numbers * pixels * np.dtype(config.compute_dtype).itemsize
        + sum(traffic.WEIGHT_ACCESSES.values()) * weights
    )


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
