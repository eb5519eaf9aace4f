"""The source sample: photographs from installed packages, and rain rendered on them."""

import dataclasses
import functools
import importlib.util
import math
import pathlib
import zlib

import numpy as np

from ttl_jax.data.files import images
from ttl_jax.data.rain import camera, renderer
from ttl_jax.data.sources.photographs import Pair, Photograph
from ttl_jax.data.sources.source import Source

_PHOTOGRAPHS = {  # package and file; every fourth one is for testing
    "astronaut": ("skimage", "data/astronaut.png"),
    "camera": ("skimage", "data/camera.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "china": ("sklearn", "datasets/images/china.jpg"),
    "coffee": ("skimage", "data/coffee.png"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "motorcycle_left": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
}
# Renderings of each photograph. All of them together take about 75 MB of memory.
_NUM_VARIANTS = {"train": 15, "test": 3}
_MAX_PSNR = 24.0  # dB, PSNR of rainy against clean images


class Sample(Source):
    """All sample photographs, or the split "train" or "test"."""

    def __init__(self, name, path, parse):
        del path, parse
        super().__init__(name)
        self._split = name.partition("/")[2]

    def photographs(self, role: str) -> list[Photograph]:
        if role == "clean":
            return [_clean(name) for name, _ in self._names()]
        return [pair.rainy for pair in self.pairs()]

    def pairs(self) -> list[Pair]:
        return [
            _pair(name, variant)
            for name, split in self._names()
            for variant in range(_NUM_VARIANTS[split])
        ]

    def _names(self) -> list[tuple[str, str]]:
        splits = ("train", "train", "train", "test") * 2
        named = zip(_PHOTOGRAPHS, splits, strict=True)
        return [(name, split) for name, split in named if self._split in ("", split)]


def _clean(name: str) -> Photograph:
    load = functools.partial(_load, name)
    height, width, _ = load().shape
    return Photograph(f"sample/{name}", width, height, None, load)


def _pair(name: str, variant: int) -> Pair:
    clean = _clean(name)
    load = functools.partial(_render, name, variant)
    rainy = f"{clean.name}/rain{variant:02}"
    return Pair(dataclasses.replace(clean, name=rainy, load=load), clean)


@functools.cache
def _load(name: str) -> np.ndarray:
    package, path = _PHOTOGRAPHS[name]
    # Importing the package would take a second.
    spec = importlib.util.find_spec(package)
    folders = spec and spec.submodule_search_locations
    if not folders or not (file := pathlib.Path(folders[0], path)).is_file():
        raise ValueError(
            f"The source 'sample' needs {path} of the package {package}; "
            "pip install scikit-image scikit-learn, or name another source."
        )
    image = images.load(file)
    image.flags.writeable = False  # all callers share it
    return image


@functools.cache
def _render(name: str, variant: int) -> np.ndarray:
    """Renders heavy rain on a photograph: a pure function of the name and the variant.

    Draws are repeated until the rain is clearly visible, since on dark and bright scenes it
    often is not. There is no veil and no camera, because six scenes are too few to learn
    faint rain, shifted colours and noise.
    """
    rng = np.random.default_rng((zlib.crc32(name.encode()), variant))
    clean = _load(name)
    while True:
        parameters = dataclasses.replace(
            renderer.draw_parameters(rng, "heavy"), veil=0.0, camera=camera.NEUTRAL
        )
        rainy = renderer.render(clean, parameters, rng)
        error = np.mean((rainy.astype(np.float32) - clean) ** 2)
        if 10 * math.log10(255**2 / max(error, 1e-9)) < _MAX_PSNR:
            rainy.flags.writeable = False
            return rainy
