"""Photographs of one level, written and read."""

import pathlib

import numpy as np

from ttl_jax.data.files import decoding, encoding


def write(name, level=100):
    pathlib.Path(name).parent.mkdir(parents=True, exist_ok=True)
    encoding.write_image(name, np.full((4, 5, 3), level, np.uint8))


def levels(folder):
    return {
        path.relative_to(folder).as_posix(): decoding.read_image(path).array.max()
        for path in pathlib.Path(folder).rglob("[!.]*.*")
    }
