"""The weights that come with the package; MODEL_CARD.md beside this file tells of them."""

import os
import pathlib

# The name by which flags and configs ask for them, in place of a path.
SHIPPED = "shipped"

_FOLDER = pathlib.Path(__file__).resolve().parent
DERAIN = _FOLDER / "derain.safetensors"  # removes rain
RECOG = _FOLDER / "recog.safetensors"  # tells rain; took no part in training the other


def find_derain(path: str | os.PathLike | None) -> pathlib.Path:
    """Returns the path of weights that remove rain: `DERAIN` for None and `SHIPPED`.

    Raises:
      ValueError: If the package lacks the file.
    """
    shipped = path is None or os.fspath(path) == SHIPPED
    return _installed(DERAIN) if shipped else pathlib.Path(path)


def find_recog(path: str | os.PathLike) -> pathlib.Path:
    """Returns the path of weights that tell rain: `RECOG` for `SHIPPED`.

    Raises:
      ValueError: If the package lacks the file.
    """
    return _installed(RECOG) if os.fspath(path) == SHIPPED else pathlib.Path(path)


def _installed(path: pathlib.Path) -> pathlib.Path:
    if not path.is_file():
        raise ValueError(
            f"The weights that come with the package are not installed: {path} is not "
            "there. Install it again, or name the folder of a run."
        )
    return path
