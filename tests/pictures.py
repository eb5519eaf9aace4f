"""Pictures that tests write and read."""

import numpy as np
from PIL import Image


def noise(*shape, dtype=np.uint8):
    """The same random levels at every call, over the whole range of the type."""
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def write(path, array, **options):
    """Writes a picture by Pillow's own encoders, without loss where there is a choice."""
    if path.suffix == ".webp":
        options["lossless"] = True
    Image.fromarray(array).save(path, **options)
