"""Random generators and numbers that rain and structures share."""

import math
import zlib

import numpy as np


def rng_of(name: str, *numbers: int) -> np.random.Generator:
    """Returns a random generator that depends only on a name and numbers.

    NumPy pads entropy with zeros, so trailing zeros would have no effect. The count of
    the numbers is therefore a part of it.
    """
    return np.random.default_rng((zlib.crc32(name.encode()), len(numbers), *numbers))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Returns a number between two positive bounds; its logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))
