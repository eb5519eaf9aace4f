"""Reads image files as uint8 RGB [H, W, 3], and checks them before training."""

import functools
import io
import json
import logging
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeGuard

import numpy as np
import PIL
from PIL import Image

from ttl_jax import atomic_files, progress, suggestions, threads, user_paths
from ttl_jax.data.files import decoding

_logger = logging.getLogger("ttl_jax")

MIN_SIDE = 8  # pixels

_SAVE_EVERY = 60  # seconds
_SILENT = 2  # seconds

# Increase the number when `load` changes, so that files are checked again.
_CHECKED_BY = f"3, Pillow {PIL.__version__}"


def load(path: str | os.PathLike) -> np.ndarray:
    """Reads a photograph, upright, as uint8 RGB [H, W, 3], which may be read-only.

    Alpha is dropped, not blended, since any background would add edges and shades. Colours
    under alpha 0 become those of the nearest visible pixels. Colour profiles are not applied.

    Raises:
      ImageError: If the file cannot be decoded, or has a side under `MIN_SIDE` pixels.
    """
    return _require_size(decoding.read_rgb8(path), path)


def decode(data: bytes, name: str) -> np.ndarray:
    """Decodes the bytes of a file as `load`; errors contain the name."""
    return _require_size(decoding.decode_rgb8(data, name), name)


def _require_size(image: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    height, width, _ = image.shape
    if min(height, width) < MIN_SIDE:
        raise decoding.ImageError(
            path, f"is {width}x{height}; each side needs at least {MIN_SIDE} pixels"
        )
    return image


class FileFacts(NamedTuple):
    """Facts about an image file that was decoded without error.

    Attributes:
      num_bytes: Size of the file.
      mtime_ns: Time of the last change, in nanoseconds.
      width: Width of the upright image, in pixels.
      height: Height of the upright image, in pixels.
    """

    num_bytes: int
    mtime_ns: int
    width: int
    height: int


def check(paths: Sequence[str]) -> list[FileFacts]:
    """Decodes each image file fully, and returns facts about it.

    A file in the user's cache records valid images. They are not decoded again while their
    size and modification time stay the same. An interrupted check resumes there.

    Raises:
      ValueError: If files cannot be used; the message names them with their faults.
    """
    distinct = list(dict.fromkeys(paths))
    memory = _read_memory()
    checked = threads.map_ahead(functools.partial(_check_one, memory), distinct)
    shown = progress.track(
        checked, what="checking", unit="image", total=len(distinct), delay=_SILENT
    )
    results: dict[str, FileFacts | decoding.ImageError] = {}
    saved = time.monotonic()
    try:
        for result, path in zip(shown, distinct):
            results[path] = result
            if time.monotonic() - saved >= _SAVE_EVERY:
                _remember(memory, results)
                saved = time.monotonic()
    finally:
        _remember(memory, results)
    faults = [
        f"{decoding.printable(path)} {result.reason}"
        for path, result in results.items()
        if isinstance(result, decoding.ImageError)
    ]
    if faults:
        raise ValueError(
            f"{len(faults)} of {len(distinct)} image files cannot be used: "
            f"{suggestions.name_some(faults, '; ')}. Repair or remove them, or name the "
            "others in a list:FILE."
        )
    return [result for path in paths if isinstance(result := results[path], FileFacts)]


def _check_one(memory: dict, path: str) -> FileFacts | decoding.ImageError:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: not a valid path
        reason = getattr(error, "strerror", None) or error
        return decoding.ImageError(path, f"cannot be read: {reason}")
    state = [status.st_size, status.st_mtime_ns]
    facts = memory.get(os.path.realpath(path))
    if _are_facts(facts) and facts[:2] == state:
        return FileFacts(*facts)
    try:
        height, width, _ = load(path).shape
    except decoding.ImageError as error:
        return error
    return FileFacts(*state, width=width, height=height)


def _are_facts(value) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) == len(FileFacts._fields)
        and all(isinstance(number, int) for number in value)
    )


def _memory_path() -> pathlib.Path:
    return user_paths.cache_folder("checked_images.json")


def _read_memory() -> dict:
    """Returns `FileFacts` as lists by real path; empty if missing, outdated or damaged."""
    try:
        memory = json.loads(_memory_path().read_bytes())
        if memory["checked_by"] == _CHECKED_BY and isinstance(memory["files"], dict):
            return memory["files"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        _logger.warning("Checking images anew: %s: %r", _memory_path(), error)
    return {}


def _remember(
    memory: Mapping, results: Mapping[str, FileFacts | decoding.ImageError]
) -> None:
    """Adds the facts about valid images to the file in the user's cache."""
    found = {
        os.path.realpath(path): list(result)
        for path, result in results.items()
        if isinstance(result, FileFacts)
    }
    if any(memory.get(path) != facts for path, facts in found.items()):
        # Read again, since another run may have added files in the meantime.
        _write_memory({**_read_memory(), **found})


def _write_memory(files: dict) -> None:
    path = _memory_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Atomically, since other runs may read it.
        atomic_files.write_json(path, {"checked_by": _CHECKED_BY, "files": files})
    except OSError as error:
        _logger.warning("Images will be checked again: %s: %s", path, error)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Returns an image, uint8 [H, W, 3], after compression as JPEG.

    Args:
      image: uint8 [H, W, 3].
      quality: JPEG quality, 1 to 95.
    """
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def central_square(image: np.ndarray, side: int) -> np.ndarray:
    """Returns the square [side, side, 3] in the middle of an image [H, W, 3].

    A smaller image is padded by reflection.
    """
    missing = [max(0, side - length) for length in image.shape[:2]]
    margins = [((n + 1) // 2, n // 2) for n in missing]
    image = np.pad(image, [*margins, (0, 0)], "reflect")
    top, left = ((length - side + 1) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]
