"""Rain removers without training, as baselines for networks.

The default settings were chosen by PSNR on sample/train, which is part of every installation
and not used in reports: in a wide search on crops of twelve pairs, and then among two to six
settings each on every third whole pair. No other set was used.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.ndimage
import skimage.restoration

from ttl_jax import suggestions


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
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(
                f"{self.name} restores uint8 RGB [H, W, 3], not {image.dtype} of shape "
                f"{image.shape}."
            )
        restored = self.filter(image / 255)
        return np.round(np.clip(restored, 0, 1) * 255).astype(np.uint8)


def make_median(*, width: int = 3) -> Baseline:
    """Returns the median of each channel over a row of pixels.

    Args:
      width: Odd length of the row, in pixels; removes streaks narrower than half of it.
    """
    return Baseline(
        "median", lambda image: scipy.ndimage.median_filter(image, (1, width, 1))
    )


def make_opening(*, width: int = 7) -> Baseline:
    """Returns the morphological opening of each channel by a row of pixels (Serra, 1982).

    Args:
      width: Length of the row, in pixels; removes bright structures that are narrower.
    """
    return Baseline(
        "opening", lambda image: scipy.ndimage.grey_opening(image, (1, width, 1))
    )


def make_guided(*, radius: int = 3, eps: float = 0.003) -> Baseline:
    """Returns `guided_filter` with each channel as its own guide.

    Note: Xu et al., Removing rain and snow in a single image using guided filter, CSAE
    2012, use another guide.

    Args:
      radius: Radius of the square window, in pixels.
      eps: Variance below which a window counts as flat, for values in [0, 1].
    """
    return Baseline("guided", lambda image: guided_filter(image, image, radius, eps))


def make_tv(*, weight: float = 0.03) -> Baseline:
    """Returns total variation denoising (Chambolle, 2004).

    Args:
      weight: Weight of the total variation relative to the distance to the rainy image.
    """
    return Baseline(
        "tv",
        lambda image: skimage.restoration.denoise_tv_chambolle(
            image, weight, channel_axis=-1
        ),
    )


def make_nlm(*, h: float = 0.05) -> Baseline:
    """Returns non-local means: means over pixels with similar patches (Buades et al., 2005).

    Args:
      h: Distance up to which patches are similar, for values in [0, 1].
    """
    return Baseline(
        "nlm",
        lambda image: skimage.restoration.denoise_nl_means(
            image, patch_size=5, patch_distance=6, h=h, channel_axis=-1
        ),
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


# Baselines by name, with their mean gain on these pairs; the input has 21.2 dB.
BASELINES: dict[str, Callable[[], Baseline]] = {
    "median": make_median,  # 0.15 dB
    "opening": make_opening,  # 2.06 dB
    "guided": make_guided,  # 0.25 dB
    "tv": make_tv,  # 0.20 dB
    "nlm": make_nlm,  # 0.25 dB
}


def make_baseline(name: str) -> Baseline:
    """Returns the baseline with a name, with default settings.

    Raises:
      ValueError: If the name is unknown.
    """
    if name in BASELINES:
        return BASELINES[name]()
    known = suggestions.known_and_hint(name, BASELINES)
    raise ValueError(f"Unknown baseline {name!r}; known: {known}")
