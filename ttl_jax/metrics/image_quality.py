"""PSNR and SSIM under named protocols.

Papers of this field score the same files in at least five incompatible ways, up to
3 dB apart, so a score is meaningful only with the name of its protocol. `PROTOCOLS`
records where each is defined, who reports it and its pitfalls.

All functions take images [N, H, W, 3], RGB, either uint8 or floating point in [0, 1],
and return one score per image, [N]. Every protocol compares 8-bit images: floating
point is first rounded to the 256 levels of a file. The functions use the namespace of
their arrays: numpy computes in float64, and jax in its default precision, also inside
`jax.jit`. An image that contains NaN scores NaN.

Use numpy for photographs from files: on a CPU, `jax.jit` takes twice the time and
compiles for every size. Use jax for images that are on the device, as in training.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import einops
import numpy as np

from ttl_jax import suggestions

Array = Any  # numpy.ndarray or jax.Array

PEAK = 255.0  # L: the dynamic range of the planes that every protocol compares
IDENTICAL_PSNR = 100.0  # dB, in place of infinity, which JSON and means cannot hold

# The window and the constants of Wang et al., 2004, section III-C.
SSIM_WINDOW = 11  # pixels
SSIM_SIGMA = 1.5  # pixels
SSIM_C1 = (0.01 * PEAK) ** 2
SSIM_C2 = (0.03 * PEAK) ** 2


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A definition of PSNR and SSIM.

    Attributes:
      description: Compared quantity and papers that report it, for a note below tables.
      source: Published script that defines it.
      traps: Reasons why a number published under this name may differ.
      planes: Function from images [N, H, W, 3] to the compared planes, [N, K, H, W],
        floating point in [0, 255]; NaN pixels may give any value.
      downsamples_ssim: Whether SSIM compares large images at about 256 pixels.
    """

    description: str
    source: str
    traps: str
    planes: Callable[[Array], Array]
    downsamples_ssim: bool = False


def _levels(images: Array) -> Array:
    """Returns the images rounded to 8-bit levels, int32 [N, 3, H, W] in 0..255."""
    xp = images.__array_namespace__()
    images = xp.moveaxis(images, -1, 1)
    if images.dtype == xp.uint8:
        return images.astype(xp.int32)
    # Ties go to even, as in skimage.img_as_ubyte, with which Restormer and MPRNet save
    # their outputs. 8-bit data has no ties.
    levels = xp.round(xp.clip(xp.nan_to_num(images.astype(float)), 0, 1) * PEAK)
    return levels.astype(xp.int32)


def _weighted_levels(images: Array) -> Array:
    """Returns 299 R + 587 G + 114 B of the levels, int32 in [0, 255000], [N, 1, H, W].

    The luma of BT.601, Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, has the
    weights 0.219 * (299, 587, 114). Integers represent it exactly, so float32, float64
    and every device agree.
    """
    levels = _levels(images)
    return 299 * levels[:, 0:1] + 587 * levels[:, 1:2] + 114 * levels[:, 2:3]


def _matlab_uint8_luma(images: Array) -> Array:
    """Luma in [16, 235] as MATLAB's `rgb2ycbcr` returns it for uint8 RGB, rounded.

    Note: MATLAB rounds ties away from zero, numpy and jax to even. Integers make ties
    exact, and here they round up. 194 of the 16.7 million colours are ties; how MATLAB's
    own floating-point sum rounds them is not published.
    """
    luma = 16 + (2 * 73 * _weighted_levels(images) + 85000) // (2 * 85000)
    return luma.astype(float)  # floor(x + 1/2), x = 16 + 219 / 255000 of the weighted


def _unrounded_luma(images: Array) -> Array:
    """Luma in [16, 235] as `rgb2ycbcr` returns it for floating-point RGB, times 255."""
    return 16 + _weighted_levels(images).astype(float) * (219 / 255000)


def _rgb(images: Array) -> Array:
    return _levels(images).astype(float)


PROTOCOLS = {
    "y_uint8": Protocol(
        description="8-bit luma as MATLAB rounds it (the scripts of Restormer, MPRNet; "
        "DRSformer and NeRD-Rain on Rain200L, Rain200H and SPA-Data)",
        source="evaluate_PSNR_SSIM.m in the Deraining folders of swz30/Restormer and "
        "swz30/MPRNet; its SSIM is Wang's ssim_index.m of 2003",
        traps="Outputs saved by truncation instead of rounding score lower; the better "
        "they are, the more they lose. The PSNR that Restormer logs during training is "
        "that of y_float. The script pairs files by their order, not by their names. The "
        "average of several sets is the mean of their means, whatever their sizes.",
        planes=_matlab_uint8_luma,
    ),
    "y_float": Protocol(
        description="unrounded luma of 8-bit images (BasicSR with test_y_channel; "
        "SwinIR, WeatherDiffusion, Histoformer)",
        source="calculate_psnr and calculate_ssim in basicsr/metrics/psnr_ssim.py of "
        "XPixelGroup/BasicSR, test_y_channel=True, crop_border=0",
        traps="In super-resolution a border is cropped; here none is. "
        "calculate_psnr_pt does not round to 8 bits, and cannot exceed 80 dB, since it "
        "adds 1e-8 to the error of images in [0, 1]. The luma passes through float32 there, "
        "which moves a score from its sixth digit on.",
        planes=_unrounded_luma,
    ),
    "y_double": Protocol(
        description="unrounded luma of 8-bit images, SSIM downsampled to about 256 "
        "pixels (the scripts of RCDNet, VRGNet; PReNet on Rain1400; DRSformer and "
        "NeRD-Rain on DID-Data and DDN-Data)",
        source="statistic.m and psnr.m in Performance_evaluation of hongwang01/RCDNet, "
        "statistic_rain1400.m of csdwren/PReNet; their SSIM is ssim.m, Wang's 'SSIM "
        "Index with automatic downsampling, Version 1.0' of 2009",
        traps="PSNR is that of y_float, and SSIM too where the shorter side is below "
        "384 pixels. MATLAB has its own function `ssim`, which expects doubles in [0, 1] "
        "and does not downsample; MATLAB's search path decides which one runs. RCDNet's "
        "script adds up 100 images and divides by 1000. PReNet's script reads results "
        "saved as JPEG.",
        planes=_unrounded_luma,
        downsamples_ssim=True,
    ),
    "rgb": Protocol(
        description="8-bit RGB, SSIM averaged over the channels (BasicSR without "
        "test_y_channel; the PSNR of PromptIR, AdaIR, MAXIM and derain-toolbox)",
        source="calculate_psnr and calculate_ssim in basicsr/metrics/psnr_ssim.py of "
        "XPixelGroup/BasicSR, test_y_channel=False, crop_border=0",
        traps="The PSNR of luma is 1.3 dB higher only because luma has 219 steps for "
        "255 levels. PromptIR, AdaIR and MAXIM score outputs before they are rounded to "
        "8 bits, which adds about 0.5 dB at 50 dB. scikit-image's "
        "structural_similarity has by default a flat 7 x 7 window and sample "
        "covariances, so its SSIM differs.",
        planes=_rgb,
    ),
}
DEFAULT_PROTOCOL = "y_uint8"


def psnr(restored: Array, target: Array, protocol: str = DEFAULT_PROTOCOL) -> Array:
    """Returns the peak signal-to-noise ratio of each image, in dB; 100 if identical.

    This is 10 log10(255^2 / MSE) with the MSE over all pixels and planes, without cropping.

    Note: 100 dB stands for infinity by definition. Two large images that differ in
    only a few pixels can score above it.

    Args:
      restored: Images [N, H, W, 3], RGB, uint8 or floating point in [0, 1].
      target: Clean images of the same shape, or one for all, [1, H, W, 3].
      protocol: A name in `PROTOCOLS`.

    Returns:
      Array [N].

    Raises:
      ValueError: If the shapes differ or are not [N, H, W, 3], an array is neither uint8
        nor floating point, or the protocol is unknown.
    """
    restored, target = _compared_planes(restored, target, protocol)
    error = ((restored - target) ** 2).mean(axis=(1, 2, 3))
    xp = error.__array_namespace__()
    identical = error == 0
    decibels = 10 * xp.log10(PEAK**2 / xp.where(identical, 1.0, error))
    return xp.where(identical, IDENTICAL_PSNR, decibels)


def ssim(restored: Array, target: Array, protocol: str = DEFAULT_PROTOCOL) -> Array:
    """Returns the mean structural similarity of each image, in [-1, 1].

    As in the authors' `ssim_index`: an 11 x 11 Gaussian window with a standard deviation
    of 1.5 pixels, K = (0.01, 0.03), L = 255, only windows within the image. Several planes
    are averaged. The arguments are those of `psnr`.

    Returns:
      Array [N]; in float32 within 1e-4 of float64.

    Raises:
      ValueError: As for `psnr`, or an image is smaller than the window.

    References:
      Wang et al., Image quality assessment: from error visibility to structural
      similarity, 2004, Eq. (13).
    """
    x, y = _compared_planes(restored, target, protocol)
    if min(x.shape[2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels; these images "
            f"are {x.shape[2]} x {x.shape[3]} (height x width)."
        )
    if PROTOCOLS[protocol].downsamples_ssim:
        factor = max(1, (min(x.shape[2:]) + 128) // 256)  # round(m / 256), half up
        x, y = _downsampled(x, factor), _downsampled(y, factor)
    # Variances are differences of squares, so values are centred at zero; otherwise flat
    # bright images would have an error of 5e-4 in float32.
    x, y = x - PEAK / 2, y - PEAK / 2
    mean_x, mean_y = _windowed_mean(x), _windowed_mean(y)
    variance_x = _windowed_mean(x * x) - mean_x**2
    variance_y = _windowed_mean(y * y) - mean_y**2
    covariance = _windowed_mean(x * y) - mean_x * mean_y
    mean_x, mean_y = mean_x + PEAK / 2, mean_y + PEAK / 2
    similarity = (
        (2 * mean_x * mean_y + SSIM_C1)
        * (2 * covariance + SSIM_C2)
        / (mean_x**2 + mean_y**2 + SSIM_C1)
        / (variance_x + variance_y + SSIM_C2)
    )
    return similarity.mean(axis=(1, 2, 3))


def _compared_planes(
    restored: Array, target: Array, protocol: str
) -> tuple[Array, Array]:
    """Checks all arguments and returns the planes [N, K, H, W] of both."""
    if protocol not in PROTOCOLS:
        known = suggestions.known_and_hint(protocol, PROTOCOLS)
        raise ValueError(f"Unknown protocol {protocol!r}; known: {known}")
    if target.shape not in (restored.shape, (1, *restored.shape[1:])):
        raise ValueError(
            f"Restored images of shape {restored.shape} cannot be compared with "
            f"targets of shape {target.shape}."
        )
    return _planes(restored, protocol), _planes(target, protocol)


def _planes(images: Array, protocol: str) -> Array:
    """Returns the planes [N, K, H, W] that the protocol compares; NaN stays NaN."""
    xp = images.__array_namespace__()
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"Expected images [N, H, W, 3], not shape {images.shape}.")
    if images.dtype == xp.uint8:
        return PROTOCOLS[protocol].planes(images)
    if not xp.issubdtype(images.dtype, xp.floating):
        raise ValueError(
            f"Expected uint8 or floating point in [0, 1], not {images.dtype}."
        )
    # Rounding to integers would turn a network's NaN into a dark, valid pixel.
    undefined = xp.isnan(images).any(axis=-1)[:, np.newaxis]
    return xp.where(undefined, xp.nan, PROTOCOLS[protocol].planes(images))


def _downsampled(planes: Array, factor: int) -> Array:
    """Returns the means of factor x factor pixels around every factor-th pixel.

    As ssim.m: `imfilter(planes, ones(f) / f^2, 'symmetric')`, then `(1:f:end, 1:f:end)`.
    Note: `imfilter` centres its window on entry floor((f + 1) / 2), counted from 1, so
    an even window reaches one pixel further down and right than up and left. SciPy's
    filters do the opposite.
    """
    xp = planes.__array_namespace__()
    border = (factor - 1) // 2, factor // 2
    padded = xp.pad(planes, [(0, 0), (0, 0), border, border], mode="symmetric")
    height, width = (size // factor * factor for size in padded.shape[2:])
    pattern = "n k (h fh) (w fw) -> n k h w"
    return einops.reduce(
        padded[:, :, :height, :width], pattern, "mean", fh=factor, fw=factor
    )


def _windowed_mean(planes: Array) -> Array:
    """Returns the Gaussian mean of each window in the planes, [N, K, H - 10, W - 10]."""
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    taps = np.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
    taps = (taps / taps.sum()).tolist()
    height, width = (size - SSIM_WINDOW + 1 for size in planes.shape[2:])
    rows: Any = sum(tap * planes[:, :, i : i + height] for i, tap in enumerate(taps))
    return sum(tap * rows[..., i : i + width] for i, tap in enumerate(taps))
