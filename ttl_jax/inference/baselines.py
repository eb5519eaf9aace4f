"""Rain removers without training: what any network has to beat.

The default settings are those that gained most PSNR on sample/train, the one set that
every installation holds and nobody reports: a wide search on crops of twelve pairs, then
two to six settings of each on every third pair, whole. No other set chose any of them.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.ndimage
import skimage.restoration

from ttl_jax import suggestions


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A rain remover as `inference.restorer.Restorer`: `baseline.restore(image)`.

    Attributes:
      name: Its name in tables, without the settings.
      filter: From float64 [H, W, 3] in [0, 1] to the same without rain.
    """

    name: str
    filter: Callable[[np.ndarray], np.ndarray]

    def restore(self, image: np.ndarray) -> np.ndarray:
        """Returns the image without rain, of the same shape and type.

        Args:
          image: uint8 RGB [H, W, 3].

        Raises:
          ValueError: If the shape or type is another.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(
                f"{self.name} restores uint8 RGB [H, W, 3], not {image.dtype} of shape "
                f"{image.shape}."
            )
        restored = self.filter(image / 255)
        return np.round(np.clip(restored, 0, 1) * 255).astype(np.uint8)


def make_median(*, width: int = 3) -> Baseline:
    """The median of each channel over a row of pixels: thin streaks cannot shift it.

    Args:
      width: Of the row, in pixels, odd; streaks of less than half of it vanish.
    """
    return Baseline(
        "median", lambda image: scipy.ndimage.median_filter(image, (1, width, 1))
    )


def make_opening(*, width: int = 7) -> Baseline:
    """The image less what is bright and narrow: the opening of each channel by a row.

    Of these the only one that knows rain to brighten.

    Args:
      width: Of the row, in pixels; bright stretches of fewer vanish.

    References:
      Serra, Image analysis and mathematical morphology, 1982.
    """
    return Baseline(
        "opening", lambda image: scipy.ndimage.grey_opening(image, (1, width, 1))
    )


def make_guided(*, radius: int = 3, eps: float = 0.003) -> Baseline:
    """The image smoothed where it is nearly flat, each channel its own guide.

    Args:
      radius: Of the square window, in pixels.
      eps: Variance in the window, of levels in [0, 1], up to which it is smoothed.

    References:
      He, Sun and Tang, Guided image filtering, ECCV 2010.
      Xu et al., Removing rain and snow in a single image using guided filter, CSAE 2012,
      with another guide.
    """
    return Baseline("guided", lambda image: guided_filter(image, image, radius, eps))


def make_tv(*, weight: float = 0.03) -> Baseline:
    """The image of least total variation near the rainy one.

    Args:
      weight: Of the total variation against the distance.

    References:
      Chambolle, An algorithm for total variation minimization and applications, 2004.
    """
    return Baseline(
        "tv",
        lambda image: skimage.restoration.denoise_tv_chambolle(
            image, weight, channel_axis=-1
        ),
    )


def make_nlm(*, h: float = 0.05) -> Baseline:
    """Non-local means: each pixel becomes the mean of those with a like surrounding.

    Args:
      h: Distance of surroundings, of levels in [0, 1], up to which they are alike.

    References:
      Buades, Coll and Morel, A non-local algorithm for image denoising, CVPR 2005.
      Darbon et al., Fast nonlocal filtering applied to electron cryomicroscopy, 2008.
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
    """The image smoothed where its guide is flat, [H, W, C], channel by channel.

    Args:
      guide: Float [H, W, C].
      image: Float [H, W, C].
      radius: Of the square window, in pixels.
      eps: Variance of the guide up to which a window is flat.

    References:
      He, Sun and Tang, Guided image filtering, ECCV 2010, Eqs. (5), (6) and (8).
    """

    def mean(x: np.ndarray) -> np.ndarray:
        size = 2 * radius + 1
        return scipy.ndimage.uniform_filter(x, (size, size, 1))

    guide_mean, image_mean = mean(guide), mean(image)
    variance = mean(guide * guide) - guide_mean**2
    covariance = mean(guide * image) - guide_mean * image_mean
    a = covariance / (variance + eps)
    b = image_mean - a * guide_mean
    return mean(a) * guide + mean(b)


# By name; beside each, the mean gain over the input on those pairs, of 21.2 dB.
BASELINES: dict[str, Callable[[], Baseline]] = {
    "median": make_median,  # 0.15 dB
    "opening": make_opening,  # 2.06 dB
    "guided": make_guided,  # 0.25 dB
    "tv": make_tv,  # 0.20 dB
    "nlm": make_nlm,  # 0.25 dB
}


def make_baseline(name: str) -> Baseline:
    """A rain remover of `BASELINES`, with its own settings.

    Raises:
      ValueError: If there is none of this name.
    """
    if name in BASELINES:
        return BASELINES[name]()
    known = suggestions.known_and_hint(name, BASELINES)
    raise ValueError(f"Unknown baseline {name!r}; known: {known}")
