"""The params of a module as a flat dict from dotted names ("blocks.0.alpha") to arrays.

Checkpoints in this form can be read, listed and compared without the code of the model.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from ttl_jax import suggestions

Params = dict[str, jax.Array]


def split_module(module: nnx.Module) -> tuple[nnx.GraphDef, Params]:
    """Returns a module's structure and its params by dotted name."""
    graph, state = nnx.split(module)
    params = {
        ".".join(map(str, path)): variable.get_value()
        for path, variable in nnx.to_flat_state(state)
    }
    return graph, params


class _OneKey:
    """Replaces `nnx.Rngs` if values do not matter, since tracing keys takes a second."""

    def __init__(self):
        self._key = jax.random.key(0)

    def __call__(self) -> jax.Array:
        return self._key

    def __getattr__(self, stream: str) -> Callable[[], jax.Array]:
        return self


def split_factory(make: Callable[..., nnx.Module]) -> tuple[nnx.GraphDef, Params]:
    """Returns the structure and the shapes of the params of `make(rngs=...)`.

    No arrays are allocated.
    """
    rngs = _OneKey()
    return split_module(nnx.eval_shape(lambda: make(rngs=rngs)))


def merge_module(graph: nnx.GraphDef, params: Mapping[str, jax.Array]) -> nnx.Module:
    """Returns the module with a structure from `split_module` and the given params."""
    flat = [
        (tuple(int(k) if k.isdigit() else k for k in name.split(".")), nnx.Param(value))
        for name, value in params.items()
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat))


def verify_params(
    loaded: Mapping[str, Any], wanted: Mapping[str, Any], *, source: str, module: str
) -> None:
    """Checks that loaded params have the wanted names, shapes and types.

    Args:
      wanted: Arrays or `jax.ShapeDtypeStruct` by dotted name.
      source: Run or file of the loaded params, for the error message.
      module: Name of the module, for the error message.

    Raises:
      ValueError: If any differ; the message names up to five.
    """
    if faults := describe_differences(loaded, wanted):
        raise ValueError(
            f"{source} does not fit {module!r}: {faults}. Use the config (preset, encoder "
            "and decoder fields) that the run was trained with, or train it again."
        )


def describe_differences(loaded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Returns up to five params that differ in name, shape or type; empty if none does.

    Args:
      wanted: Arrays or `jax.ShapeDtypeStruct` by dotted name.
    """

    def form(leaf):
        return f"{tuple(leaf.shape)} {np.dtype(leaf.dtype)}"

    faults = []
    for name in sorted(set(loaded) | set(wanted)):
        if name not in loaded:
            faults.append(f"{name} is missing, wanted {form(wanted[name])}")
        elif name not in wanted:
            faults.append(f"{name} {form(loaded[name])} is not part of the network")
        elif (found := form(loaded[name])) != form(wanted[name]):
            faults.append(f"{name} is {found}, wanted {form(wanted[name])}")
    return suggestions.name_some(faults, "; ", most=5)
