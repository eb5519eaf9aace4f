"""The weights included in the package, by name; MODEL_CARD.md describes them."""

import os
import pathlib

from ttl_jax import user_paths

SHIPPED = "shipped"  # name of the weights in flags and configs, instead of a path

_FOLDER = pathlib.Path(__file__).resolve().parent
DERAIN = _FOLDER / "derain.safetensors"  # removes rain
RECOG = _FOLDER / "recog.safetensors"  # recognizes rain; not a teacher of `DERAIN`

# Weights that remove rain, by name. Those of version 0.1 sum over the whole image.
_DERAIN = {SHIPPED: DERAIN, f"{SHIPPED}@0.1": _FOLDER / "derain_0.1.safetensors"}
_NAMES = {path: name for name, path in _DERAIN.items()} | {RECOG: SHIPPED}


def find(path: str | os.PathLike | None, *, recognizes: bool = False) -> pathlib.Path:
    """Returns the path of weights, given as a path or as the name of shipped weights.

    Args:
      path: Any path; "shipped" or None; or "shipped@0.1".
      recognizes: Whether "shipped" means the weights that recognize rain, instead of those
        that remove it.

    Raises:
      ValueError: If the file is missing in the package, or the version is unknown.
    """
    name = SHIPPED if path is None else os.fspath(path)
    if not is_shipped(name):
        return user_paths.expand(name)
    versions = {SHIPPED: RECOG} if recognizes else _DERAIN
    if name not in versions:
        raise ValueError(
            f"Unknown shipped weights {name!r}; choose one of {', '.join(versions)}."
        )
    if not versions[name].is_file():
        raise ValueError(
            f"The shipped weights are not installed: {versions[name]} is missing. "
            "Install the package again, or name the folder of a run."
        )
    return versions[name]


def is_shipped(name: str) -> bool:
    """Returns whether a name means shipped weights, of any version."""
    return name == SHIPPED or name.startswith(f"{SHIPPED}@")


def name_of(path: pathlib.Path) -> str | None:
    """Returns the name of the shipped weights at a path, or None for other paths."""
    return _NAMES.get(path)
