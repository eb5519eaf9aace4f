"""Rain removers without training, as baselines for networks.

The default settings were chosen by PSNR on sample/train, which is part of every
installation and not used in reports. A wide search on crops of twelve pairs came first.
Then two to six settings of each baseline were compared on every third whole pair. No
other set was used.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import scipy.ndimage
import skimage.restoration

from ttl_jax import suggestions
from ttl_jax.inference import pixels


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A rain remover with a method `restore(image)`, like `Restorer`.

    Attributes:
      name: Name in tables, without the settings.
      filter: Function from float64 [H, W, 3] in [0, 1] to the same without rain.
    """

    name: str
    filter: Callable[[np.ndarray], np.ndarray]

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Returns the image without rain, of the same shape and type.

        Args:
          image: uint8 RGB [H, W, 3].

        Raises:
          ValueError: If the shape or type is invalid.
        """
        pixels.check_rgb8(image)
        return pixels.from_unit_range(self.filter(image / 255), image.dtype)


# The filters map images, float64 [H, W, 3] in [0, 1], to the same without rain.


def median(image: np.ndarray, width: int = 3) -> np.ndarray:
    """Returns the median of each channel over a row of pixels.

    It removes streaks narrower than half of the row. `width` is its length, an odd
    number of pixels.
    """
    return scipy.ndimage.median_filter(image, (1, width, 1))


def opening(image: np.ndarray, width: int = 7) -> np.ndarray:
    """Returns the morphological opening of each channel by a row of pixels (Serra, 1982).

    It removes bright structures that are narrower than the row of `width` pixels.
    """
    return scipy.ndimage.grey_opening(image, (1, width, 1))


def guided(image: np.ndarray, radius: int = 3, eps: float = 0.003) -> np.ndarray:
    """Returns `guided_filter` with each channel as its own guide.

    Note: Xu et al., Removing rain and snow in a single image using guided filter, CSAE
    2012, use another guide.
    """
    return guided_filter(image, image, radius, eps)


def tv(image: np.ndarray, weight: float = 0.03) -> np.ndarray:
    """Returns total variation denoising (Chambolle, 2004).

    `weight` balances the total variation against the distance to the rainy image.
    """
    return skimage.restoration.denoise_tv_chambolle(image, weight, channel_axis=-1)


def nlm(image: np.ndarray, h: float = 0.05) -> np.ndarray:
    """Returns non-local means: means over pixels with similar patches (Buades et al., 2005).

    Patches are similar up to the distance `h`, for values in [0, 1].
    """
    return skimage.restoration.denoise_nl_means(
        image, patch_size=5, patch_distance=6, h=h, channel_axis=-1
    )


def guided_filter(
    guide: np.ndarray, image: np.ndarray, radius: int, eps: float
) -> np.ndarray:
    """Smooths an image where its guide is flat, [H, W, C], channel by channel.

    Args:
      guide: Float [H, W, C].
      image: Float [H, W, C].
      radius: Radius of the square window, in pixels.
      eps: Variance of the guide below which a window counts as flat.

    References:
      He, Sun and Tang, Guided image filtering, ECCV 2010, Eqs. (5), (6) and (8).
    """

    def mean(x: np.ndarray) -> np.ndarray:
        size = 2 * radius + 1
        return scipy.ndimage.uniform_filter(x, (size, size, 1))  # pyright: ignore[reportArgumentType]

    guide_mean, image_mean = mean(guide), mean(image)
    variance = mean(guide * guide) - guide_mean**2
    covariance = mean(guide * image) - guide_mean * image_mean
    a = covariance / (variance + eps)
    b = image_mean - a * guide_mean
    return mean(a) * guide + mean(b)


# Filters by name, with their mean gain on every third pair of sample/train, whose rainy
# images have 21.2 dB.
FILTERS: dict[str, Callable[..., np.ndarray]] = {
    "median": median,  # 0.15 dB
    "opening": opening,  # 2.06 dB
    "guided": guided,  # 0.25 dB
    "tv": tv,  # 0.20 dB
    "nlm": nlm,  # 0.25 dB
}


def make_baseline(name: str, **settings: float) -> Baseline:
    """Returns the baseline with a name, by default with the settings chosen as above.

    Raises:
      ValueError: If the name is unknown.
    """
    if name not in FILTERS:
        known = suggestions.known_and_hint(name, FILTERS)
        raise ValueError(f"Unknown baseline {name!r}; known: {known}")
    return Baseline(name, functools.partial(FILTERS[name], **settings))
