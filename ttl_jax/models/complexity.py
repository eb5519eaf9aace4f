"""Sizes of networks: parameters, and multiply-adds counted over the jaxpr.

As usual in this field, only convolutions and matrix products are counted. XLA's own cost
analysis counts all operations, and the body of a loop only once.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx
from jax.extend import core


def num_params(module: nnx.Module) -> int:
    """Returns the number of trainable parameters of a module."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def multiply_adds(fun: Callable, *arguments: Any) -> int:
    """Returns the multiply-adds of convolutions and matrix products of `fun`.

    Args:
      fun: Function of arrays; it is traced, not run.
      *arguments: Trees of arrays, or of their shapes and types.
    """
    return _count(jax.make_jaxpr(fun)(*arguments).jaxpr)


def _count(jaxpr) -> int:
    return sum(map(_count_equation, jaxpr.eqns))


def _count_equation(equation) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return equation.outvars[0].aval.size * math.prod(shape[d] for d in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        num_outputs = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        return equation.outvars[0].aval.size * (kernel.size // num_outputs)
    if name == "cond":
        # The last branch of `lax.platform_dependent` is the plain form. Forms for CPUs hide
        # products in sums of shifts, or sums in products.
        return _count(params["branches"][-1].jaxpr)
    repeats = params["length"] if name == "scan" else 1
    return repeats * sum(_count(inner) for inner in _inner_jaxprs(params))


def _inner_jaxprs(params):
    for value in params.values():
        if isinstance(value, core.ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, core.Jaxpr):
            yield value
