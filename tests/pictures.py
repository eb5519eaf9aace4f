"""Pictures that tests write and read."""

import numpy as np
from PIL import Image


def noise(*shape, dtype=np.uint8):
    """The same random levels at every call, over the whole range of the type."""
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def texture(seed, height, width):
    """A cloudy picture with detail at every scale, as photographs have, uint8 RGB."""
    rng = np.random.default_rng(seed)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(width), np.fft.fftfreq(height)))
    spectrum = np.fft.fft2(rng.normal(size=(height, width))) / (
        frequencies + 1 / height
    )
    grey = np.fft.ifft2(spectrum).real
    levels = np.clip(128 + 45 * (grey - grey.mean()) / grey.std(), 0, 255)
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)


def add_noise(image, amount):
    """The image with Gaussian noise of a standard deviation in levels."""
    noisy = image + np.random.default_rng(0).normal(0, amount, image.shape)
    return np.clip(noisy.round(), 0, 255).astype(np.uint8)


def write(path, array, **options):
    """Writes a picture with Pillow's encoders, lossless if possible."""
    if path.suffix == ".webp":
        options["lossless"] = True
    Image.fromarray(array).save(path, **options)


def uniform(*shape):
    """Float32 noise in [0, 1)."""
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)
