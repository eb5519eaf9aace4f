"""The weights that come with the package; MODEL_CARD.md beside this file tells of them."""

import os
import pathlib

# The name by which flags and configs ask for them, in place of a path.
SHIPPED = "shipped"

_FOLDER = pathlib.Path(__file__).parent
DERAIN = _FOLDER / "derain.safetensors"  # removes rain
RECOG = _FOLDER / "recog.safetensors"  # tells rain; took no part in training the other


def find_derain(path: str | os.PathLike | None) -> pathlib.Path:
    """Returns the path of weights that remove rain: `DERAIN` for None and `SHIPPED`."""
    return DERAIN if path in (None, SHIPPED) else pathlib.Path(path)


def find_recog(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path of weights that tell rain: `RECOG` for `SHIPPED`."""
    return RECOG if path == SHIPPED else pathlib.Path(path)
