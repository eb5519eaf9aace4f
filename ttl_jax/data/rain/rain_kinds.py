"""Kinds of rain that published pairs lack, as ranges of the renderer's parameters.

Networks trained on published pairs do not remove these kinds. All ranges were chosen by
comparing pictures with real photographs (`launch/rain_sheet.py --kinds`).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ttl_jax.data import randomness
from ttl_jax.data.rain import renderer

Draws = dict[str, Any]


def draw_kind(rng: np.random.Generator) -> str:
    """Returns a kind of `KINDS`, all equally likely."""
    return tuple(KINDS)[rng.integers(len(KINDS))]


def draw_parameters(
    rng: np.random.Generator, kind: str, *, longer_side: int = 512
) -> renderer.RainParameters:
    """Returns random parameters of a kind of rain.

    Args:
      rng: Random generator.
      kind: One of `KINDS`.
      longer_side: Longer side of the whole photograph, in pixels; see
        `renderer.draw_parameters`.

    Raises:
      ValueError: If the kind is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"Kinds of rain are {', '.join(KINDS)}, not {kind!r}.")
    heavy = renderer.draw_parameters(rng, "heavy", longer_side=longer_side)
    return dataclasses.replace(heavy, **KINDS[kind](rng))


def _drops(rng: np.random.Generator) -> Draws:
    """Bright, upright, short: a short exposure of near drops, without veil."""
    return {
        "rain_rate": randomness.log_uniform(rng, 20, 100),
        "exposure": randomness.log_uniform(rng, 1 / 1500, 1 / 400),
        "near": randomness.log_uniform(rng, 0.7, 1.5),
        "distance": rng.uniform(3, 6),
        "brightness": randomness.log_uniform(rng, 3, 8),
        "aperture": randomness.log_uniform(rng, 1, 4),
        **_calm(rng),
    }


def _dashes(rng: np.random.Generator) -> Draws:
    """Broken streaks: a long exposure under flickering light."""
    return {
        "rain_rate": randomness.log_uniform(rng, 20, 100),
        "exposure": randomness.log_uniform(rng, 1 / 125, 1 / 40),
        "lamp_rate": randomness.log_uniform(rng, 100, 300),
        "brightness": randomness.log_uniform(rng, 3, 8),
        **_calm(rng),
    }


def _calm(rng: np.random.Generator) -> Draws:
    return {
        "wind": rng.normal(0, 0.3),
        "gust": rng.uniform(0, 0.15),
        "roll": float(np.clip(rng.normal(0, 1), -3, 3)),
        "veil": rng.uniform(0, 0.05),
    }


def _soft(rng: np.random.Generator) -> Draws:
    """Wide and soft: near drops out of focus, few of them far away."""
    return {
        "rain_rate": randomness.log_uniform(rng, 60, 250),
        "brightness": randomness.log_uniform(rng, 3, 10),
        "aperture": randomness.log_uniform(rng, 8, 30),
        "focus": randomness.log_uniform(rng, 10, 100),
        "near": randomness.log_uniform(rng, 0.7, 1.5),
        "distance": rng.uniform(2, 4),
        "veil": rng.uniform(0, 0.1),
    }


def _lit(rng: np.random.Generator) -> Draws:
    """Visible only around lamps and bright places, as in headlights at night."""
    return {
        "lamplight": rng.uniform(0.8, 1),
        "brightness": randomness.log_uniform(rng, 3, 10),
        "veil": rng.uniform(0, 0.1),
    }


def _grain(rng: np.random.Generator) -> Draws:
    """Dense and fine as snow: a short exposure of many far drops."""
    return {
        "rain_rate": randomness.log_uniform(rng, 100, 300),
        "exposure": randomness.log_uniform(rng, 1 / 4000, 1 / 1000),
        "near": randomness.log_uniform(rng, 1.5, 4),
        "distance": rng.uniform(8, 20),
        "brightness": randomness.log_uniform(rng, 2, 6),
        "veil": rng.uniform(0, 0.2),
    }


def _veil(rng: np.random.Generator) -> Draws:
    """Heavy rain through which the scene is pale."""
    return {
        "rain_rate": randomness.log_uniform(rng, 100, 300),
        "veil": rng.uniform(0.1, 0.5),
    }


KINDS: dict[str, Callable[[np.random.Generator], Draws]] = {
    "drops": _drops,
    "dashes": _dashes,
    "soft": _soft,
    "lit": _lit,
    "grain": _grain,
    "veil": _veil,
}
