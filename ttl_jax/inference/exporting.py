"""Trained networks as files for other programs: ONNX and StableHLO.

Each file is compared to the network when it is made.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from ttl_jax import atomic_files, models
from ttl_jax.inference import programs, restorer, windows
from ttl_jax.weights import flat_params, shipped, trained

PRECISIONS = {"fp32": np.float32, "fp16": np.float16}  # types of weights and features

# Largest difference from the network that is accepted, in [0, 1]. Those of the shipped
# weights are 3e-7 and 4e-4; a wrong program differs by far more.
_TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2}


@dataclasses.dataclass(frozen=True)
class Exported:
    """A file that agrees with the network.

    Attributes:
      content: Its bytes.
      difference: Largest difference from the network in the compared windows, in [0, 1].
      metadata: Description of the network, see `describe`.
    """

    content: bytes
    difference: float
    metadata: dict[str, Any]


def make(
    checkpoint: str | None,
    suffix: str,
    *,
    precision: str = "fp32",
    side: int = windows.SIDE,
) -> Exported:
    """Makes a file of the networks of a run, and compares it to them.

    `.onnx` runs in onnxruntime, with windows of any size. `.stablehlo` is read by
    `jax.export.deserialize` and runs on CPU and CUDA. It takes only square images of
    the size of the largest window. It cannot restore images of any size, since
    `windows.plan` makes windows of other sizes too. Both take any number of windows at
    once.

    Args:
      checkpoint: Weights as for `Restorer.from_checkpoint`.
      suffix: Format, ".onnx" or ".stablehlo".
      precision: Key of `PRECISIONS`. Input and output are float32 in any case.
      side: Largest side of a window, in pixels, see `windows.plan`.

    Raises:
      ValueError: If the weights are missing or cannot be exported, the suffix is unknown,
        or the file does not agree with the network.
    """
    if suffix not in _FORMATS:
        raise ValueError(
            f"unknown format {suffix!r}; the file must end in {' or '.join(_FORMATS)}"
        )
    networks, run = trained.rebuild(
        checkpoint, restorer.Restorer.factories, purpose=restorer.Restorer.purpose
    )
    encoder: Any = networks["encoder"]
    decoder: Any = networks["decoder"]
    name = trained.find_name(shipped.find(checkpoint))
    metadata = describe(encoder, decoder, side=side) | {
        "name": name, "step": run["step"], "precision": precision,
    }  # fmt: skip
    make_content, sizes = _FORMATS[suffix]
    content, restore = make_content(encoder, decoder, metadata)
    difference = max(
        _compare(restore, encoder, decoder, shape) for shape in sizes(encoder, metadata)
    )
    if not difference <= _TOLERANCES[precision]:  # NaN neither
        raise ValueError(
            f"the {suffix} file would differ from {name} by {difference:.2g} of 1; "
            f"{_TOLERANCES[precision]:g} is accepted for {precision}"
        )
    return Exported(content, difference, metadata)


def write(exported: Exported, path: pathlib.Path) -> None:
    """Writes a file; the metadata of StableHLO go to a second one, PATH.json.

    A missing folder is created.

    Raises:
      OSError: If it cannot be written; an earlier file stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".stablehlo":
        json_path = path.with_name(f"{path.name}.json")
        atomic_files.write_json(json_path, exported.metadata)
    atomic_files.write_bytes(path, exported.content)


def describe(
    encoder: models.AGLFEncoder, decoder: models.ImageDecoder, *, side: int
) -> dict[str, Any]:
    """Returns what a program must know to restore as `WindowedRestorer` does.

    Returns:
      `window`, `margin` and `grid`: the arguments `side`, `overlap` and `grid` of
      `windows.plan`, where `window` is the largest side of its windows; `value_range`:
      least and largest value of the input; `digest`: fingerprint of the weights.

    Raises:
      ValueError: If the network needs the whole image at once.
    """
    if encoder.grid is None:
        raise ValueError(
            "the network needs the whole image at once and cannot be exported for "
            "windows; use weights with local sums, such as the shipped ones"
        )
    grid = math.lcm(encoder.grid, decoder.grid)
    return {
        "window": windows.largest_side(grid, side, windows.OVERLAP),
        "margin": windows.OVERLAP,
        "grid": grid,
        "value_range": [0, 1],
        "digest": restorer.digest(encoder, decoder),
    }


_Restore = Callable[[np.ndarray], np.ndarray]


def _make_onnx(encoder, decoder, metadata: Mapping[str, Any]) -> tuple[bytes, _Restore]:
    """Returns the bytes of an ONNX file, and how onnxruntime restores with them."""
    import onnxruntime

    from ttl_jax.inference import onnx_graph

    content = onnx_graph.make(
        encoder,
        decoder,
        dtype=PRECISIONS[metadata["precision"]],
        metadata={key: json.dumps(value) for key, value in metadata.items()},
    ).SerializeToString(deterministic=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    return content, lambda images: np.asarray(
        session.run(None, {onnx_graph.INPUT: images})[0]
    )


def _make_stablehlo(
    encoder, decoder, metadata: Mapping[str, Any]
) -> tuple[bytes, _Restore]:
    """Returns a serialized program of JAX, and how JAX restores with it."""
    dtype, side = PRECISIONS[metadata["precision"]], metadata["window"]
    parts = [
        programs.Part(
            {name: jnp.asarray(x, dtype) for name, x in params.items()}, graph
        )
        for graph, params in map(flat_params.split_module, (encoder, decoder))
    ]

    def restore(images: jax.Array) -> jax.Array:
        features = parts[0].build()(images.astype(dtype))
        return parts[1].build()(features, images)

    (number,) = jax.export.symbolic_shape("n")
    exported = jax.export.export(jax.jit(restore), platforms=["cpu", "cuda"])(
        jax.ShapeDtypeStruct((number, side, side, 3), jnp.float32)
    )
    content = bytes(exported.serialize())
    call = jax.jit(jax.export.deserialize(bytearray(content)).call)
    return content, lambda images: np.asarray(call(images))


def _onnx_sizes(encoder, metadata: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Returns the sizes of windows in which an ONNX file is compared to the network.

    The first has fewer cells than the sums of the attention include, and the second more.
    """
    box = 1 + 2 * max(block.global_branch.radius for block in encoder.blocks)
    return [
        tuple(min(count * metadata["grid"], metadata["window"]) for count in counts)
        for counts in ((1, 2), (box + 2, box + 1))
    ]


# How each format is made, and the sizes of the windows in which it is compared to the
# network.
_FORMATS: dict[str, tuple[Callable, Callable]] = {
    ".onnx": (_make_onnx, _onnx_sizes),
    ".stablehlo": (
        _make_stablehlo,
        lambda encoder, metadata: [(metadata["window"],) * 2],
    ),
}


def _compare(restore: _Restore, encoder, decoder, shape: tuple[int, int]) -> float:
    """Returns the largest difference of two ways to restore, in a window of noise."""
    # Coarse and fine noise: values over the whole range, with edges of all sizes.
    rng = np.random.default_rng(0)
    coarse = rng.random((2, *(-(-side // 16) for side in shape), 3), np.float32)
    coarse = coarse.repeat(16, axis=1)[:, : shape[0]]
    coarse = coarse.repeat(16, axis=2)[:, :, : shape[1]]
    images = (coarse + rng.random(coarse.shape, np.float32)) / 2
    parts = programs.Part.of(encoder), programs.Part.of(decoder)
    expected = np.concatenate(
        [programs.restore(*parts, images[i : i + 1]) for i in range(len(images))]
    )
    return float(np.abs(restore(images) - expected).max())
