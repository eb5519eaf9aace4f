"""The weights that come with the package; MODEL_CARD.md beside this file tells of them."""

import os
import pathlib

# The name by which flags and configs ask for them, in place of a path.
SHIPPED = "shipped"

_FOLDER = pathlib.Path(__file__).resolve().parent
DERAIN = _FOLDER / "derain.safetensors"  # removes rain
RECOG = _FOLDER / "recog.safetensors"  # tells rain; took no part in training the other

# Weights that remove rain, by name. Those of version 0.1 sum over the whole image.
_DERAIN = {SHIPPED: DERAIN, f"{SHIPPED}@0.1": _FOLDER / "derain_0.1.safetensors"}
_NAMES = {path: name for name, path in _DERAIN.items()} | {RECOG: SHIPPED}


def find_derain(path: str | os.PathLike | None) -> pathlib.Path:
    """Returns the path of weights that remove rain.

    Args:
      path: Any path, or a name of shipped weights: "shipped" (also None), "shipped@0.1".

    Raises:
      ValueError: If the package lacks the file, or never had such a version.
    """
    name = SHIPPED if path is None else os.fspath(path)
    if name in _DERAIN:
        return _installed(_DERAIN[name])
    if name.startswith(f"{SHIPPED}@"):
        raise ValueError(
            f"Unknown shipped weights {name!r}; choose one of {', '.join(_DERAIN)}."
        )
    return pathlib.Path(path)


def find_recog(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path of weights that tell rain: `RECOG` for `SHIPPED`.

    Raises:
      ValueError: If the package lacks the file.
    """
    return _installed(RECOG) if os.fspath(path) == SHIPPED else pathlib.Path(path)


def is_shipped(name: str) -> bool:
    """Whether a name means shipped weights, of any version."""
    return name == SHIPPED or name.startswith(f"{SHIPPED}@")


def name_of(path: pathlib.Path) -> str | None:
    """Returns the name of shipped weights by the path of their file; None of others."""
    return _NAMES.get(path)


def _installed(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        raise ValueError(
            f"The weights that come with the package are not installed: {path} is not "
            "there. Install it again, or name the folder of a run."
        )
    return path
