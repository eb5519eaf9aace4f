"""Raindrops in the air: number, size and speed.

Diameters are in mm, speeds in m/s, rain rates in mm/h; counts are per cubic metre of air.

References:
  Marshall and Palmer, The distribution of raindrops with size, J. Meteorology 5, 1948:
    N(D) = 8000 exp(-4.1 R^-0.21 D) drops per m3 and mm of diameter.
  Atlas, Srivastava and Sekhon, Doppler radar characteristics of precipitation at
    vertical incidence, Rev. Geophys. 11, 1973: the fall speed, fitted to measurements
    of Gunn and Kinzer, J. Meteorology 6, 1949.
"""

import math

import numpy as np
import scipy.special

# There are fewer small drops than the distribution says, and the fit of the speed excludes
# them. Larger drops break up.
MIN_DIAMETER, MAX_DIAMETER = 0.5, 6.0
_INTERCEPT = 8000.0  # drops per m3 and mm


def moment(rain_rate: float, order: int) -> float:
    """Returns the sum of diameter ** order over the drops in 1 m3, in mm ** order.

    Order 0 gives their number. This is the closed form of the truncated distribution; it
    is 0 without rain.

    Args:
      rain_rate: Rain rate, in mm/h.
      order: Exponent, an integer of at least 0.
    """
    if rain_rate == 0:
        return 0.0
    slope = _slope(rain_rate)
    ends = np.array([MIN_DIAMETER, MAX_DIAMETER]) * slope
    share = float(np.diff(scipy.special.gammainc(order + 1, ends))[0])
    return _INTERCEPT * math.factorial(order) / slope ** (order + 1) * share


def extinction(rain_rate: float) -> float:
    """Returns the share of light that drops block per metre."""
    return math.pi / 4 * moment(rain_rate, 2) * 1e-6


def draw_diameters(
    rng: np.random.Generator, count: int, rain_rate: float
) -> np.ndarray:
    """Returns random diameters of `count` drops in a volume of air, float64 [count]."""
    slope = _slope(rain_rate)
    # Inverse of the truncated exponential distribution.
    lost = -np.expm1(-slope * (MAX_DIAMETER - MIN_DIAMETER))
    return MIN_DIAMETER - np.log1p(-lost * rng.random(count)) / slope


def fall_speed(diameter: np.ndarray | float) -> np.ndarray:
    """Returns the terminal speed in m/s for diameters in [MIN_DIAMETER, MAX_DIAMETER]."""
    return 9.65 - 10.3 * np.exp(-0.6 * np.asarray(diameter))


def _slope(rain_rate: float) -> float:
    """Returns Λ of Marshall and Palmer, per mm."""
    return 4.1 * rain_rate**-0.21
