"""An AGLF-ViT block here and in PyTorch, with the same weights on the same features.

PyTorch's runs as it comes, without `torch.compile`. Where PyTorch is not installed, ours
is measured alone. On a GPU that JAX has reserved whole, PyTorch finds no memory: set
XLA_PYTHON_CLIENT_PREALLOCATE=false.
"""

import dataclasses
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import common
from ttl_jax.benchmarks import timing
from ttl_jax.models import aglf_vit
from ttl_jax.weights import flat_params

TABLES = "benchmark_block.json"


@dataclasses.dataclass(frozen=True)
class BlockTime:
    """One block, by one library.

    Attributes:
      library: jax, or torch.
      preset: Whose block it is.
      side: Of the square features, in pixels.
      forward_ms: Milliseconds of the forward pass, median of the rounds.
      update_ms: Of forward and backward pass, to weights and features.
      forward_over_jax: `forward_ms` over that of jax.
      update_over_jax: `update_ms` over that of jax.
    """

    library: str
    preset: str
    side: int
    forward_ms: float
    update_ms: float
    forward_over_jax: float
    update_over_jax: float


def run(
    *,
    presets: Sequence[str],
    sides: Sequence[int],
    batch_size: int,
    rounds: int,
    output: str | None,
) -> str:
    """Measures the block of each preset at each size, both libraries in turns.

    Args:
      presets: Of `configs/common.py`.
      sides: Of the square features, in pixels.
      batch_size: Features of a batch.
      rounds: Turns of every case.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as a Markdown table.

    Raises:
      ValueError: If a preset is unknown.
      OSError: If the file cannot be written.
    """
    has_torch = importlib.util.find_spec("torch") is not None
    libraries = {"jax": make_jax}
    if has_torch:
        from ttl_jax.benchmarks import torch_block

        libraries["torch"] = torch_block.make
    cases = {}
    for preset in presets:
        block = make_block(preset)
        for side in sides:
            features = make_features(block, batch_size, side)
            for library, make in libraries.items():
                forward, update = make(block, features)
                cases[library, preset, side, "forward"] = forward
                cases[library, preset, side, "update"] = update
    for call in cases.values():
        call()
    times = timing.take_turns(cases, rounds, _milliseconds)
    rows = [_describe(times, *case[:3]) for case in cases if case[3] == "forward"]
    if output is not None:
        timing.write_json(output, TABLES, {"blocks": rows})
    device = jax.devices()[0].device_kind
    title = (
        f"An AGLF-ViT block on {batch_size} features on one {device}, float32, {rounds} "
        "turns each:\n"
    )
    missing = "\nPyTorch is not installed (pip install torch): its rows are missing."
    return "\n".join(
        [title, timing.tabulate(BlockTime, rows), *([] if has_torch else [missing])]
    )


def _describe(
    times: Mapping[tuple, float], library: str, preset: str, side: int
) -> BlockTime:
    forward, update = (times[library, preset, side, k] for k in ("forward", "update"))
    return BlockTime(
        library,
        preset,
        side,
        forward,
        update,
        forward / times["jax", preset, side, "forward"],
        update / times["jax", preset, side, "update"],
    )


def make_block(preset: str) -> aglf_vit.AGLFViTBlock:
    """The first block of a preset's encoder, with random weights.

    Its sums run over the whole image, as those of the block in PyTorch.
    """
    network = common.get_config(preset).encoder.to_dict()
    for field in ("num_blocks", "stem_stride", "final_norm", "remat"):
        del network[field]
    for field in ("spatial_attention_kernel", "attention_cell", "attention_radius"):
        del network[field]
    return aglf_vit.AGLFViTBlock(
        network.pop("width"),
        block_index=0,
        cell=0,
        radius=0,
        **network,
        rngs=nnx.Rngs(0),
    )


def make_features(block: aglf_vit.AGLFViTBlock, batch_size: int, side: int):
    """Noise for a block, float32 [N, side, side, C]."""
    width = block.norm.num_features
    rng = np.random.default_rng(0)
    return rng.standard_normal((batch_size, side, side, width), np.float32)


def make_jax(
    block: aglf_vit.AGLFViTBlock, features: np.ndarray
) -> tuple[Callable, Callable]:
    """Functions that compute the block, and its gradients for a sum of squares.

    Returns:
      Of the result, and of weights (by name) and features; both wait for the device.
    """
    graph, params = flat_params.split_module(block)
    x = jnp.asarray(features)

    def compute(params, x):
        return flat_params.merge_module(graph, params)(x)

    def loss(params, x):
        return jnp.square(compute(params, x)).sum() / 2

    forward = jax.jit(compute).lower(params, x).compile()
    update = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, x).compile()
    return (
        lambda: jax.block_until_ready(forward(params, x)),
        lambda: jax.block_until_ready(update(params, x)),
    )


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)
