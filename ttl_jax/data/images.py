"""Reads image files as uint8 RGB [H, W, 3], or says why a file is no photograph."""

import concurrent.futures
import contextlib
import functools
import json
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import PIL
from absl import logging
from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
MIN_SIDE = 8  # pixels
MAX_NAMED = 10  # of many files with the same fault, an error names so many

# Whatever the suffix says: collections hold still GIFs that are named .jpg, too.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_ORIENTATION_TAG = 0x0112
_TURN_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Whoever changes what `load` accepts counts up, so that files are checked again.
_CHECKED_BY = f"1, Pillow {PIL.__version__}"


class ImageError(ValueError):
    """A file that cannot be used as a photograph.

    Attributes:
      reason: What is wrong with it, to be read after its name: "is empty".
    """

    def __init__(self, path: str | os.PathLike, reason: str):
        super().__init__(f"{printable(path)} {reason}.")
        self.reason = reason


def load(path: str | os.PathLike) -> np.ndarray:
    """The picture in a file, upright, as uint8 RGB [H, W, 3].

    Grey, palette and CMYK pictures are converted. Of 16 bits the upper 8 are kept, in
    grey as in colour. An EXIF orientation is applied. Alpha is dropped, not blended:
    the colours under it are what the camera saw, and any background would put edges
    and shades of our own making into the photograph. Colour profiles are not applied.

    Raises:
      ImageError: If the file is unreadable, empty, damaged, animated, of a kind other
        than PNG, JPEG, WebP, TIFF, BMP or GIF, of 32 bits, or under `MIN_SIDE` pixels.
    """
    try:
        if os.path.getsize(path) == 0:
            raise ImageError(path, "is empty")
        with Image.open(path, formats=_FORMATS) as image:
            return _to_rgb(path, image)
    except ImageError:
        raise
    except PIL.UnidentifiedImageError as error:
        raise ImageError(
            path, "is no PNG, JPEG, WebP, TIFF, BMP or GIF image"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(path, f"has too many pixels: {error}") from error
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # A decoder raises almost anything on damaged bytes.
        raise ImageError(path, f"cannot be decoded: {error!r}") from error


def _to_rgb(path: str | os.PathLike, image: Image.Image) -> np.ndarray:
    # An MPO file is a JPEG photograph followed by previews or a second view of it.
    num_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if num_frames > 1:
        raise ImageError(
            path, f"is animated or has pages: {num_frames} pictures in one"
        )
    if min(image.size) < MIN_SIDE:
        width, height = image.size
        raise ImageError(
            path, f"is {width}x{height}; each side needs at least {MIN_SIDE} pixels"
        )
    if image.mode in ("I", "F"):
        raise ImageError(
            path, "has 32 bits per value, of which none is known to be white"
        )
    # Of TIFF, Pillow turns the pixels itself when it decodes them.
    is_upright = image.format == "TIFF"
    turn = _TURN_OF_ORIENTATION.get(
        None if is_upright else image.getexif().get(_ORIENTATION_TAG)
    )
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("P", "PA", "La", "RGBa"):  # These reach RGB only through RGBA.
        image = image.convert("RGBA")
    image = image.convert("RGB")
    return np.array(image if turn is None else image.transpose(turn))


class FileFacts(NamedTuple):
    """What is known of an image file that was decoded without fault.

    Attributes:
      num_bytes: Its size.
      mtime_ns: When it was changed last, in nanoseconds.
      width: In pixels, upright.
      height: In pixels, upright.
    """

    num_bytes: int
    mtime_ns: int
    width: int
    height: int


def check(paths: Sequence[str]) -> list[FileFacts]:
    """Facts of each image file, every one of which was decoded fully once.

    Files that were found good before, and whose size and time of change are the same
    since, are not decoded again: that is remembered in a file of the user's cache.

    Raises:
      ValueError: If files cannot be used; names them, and each one's fault.
    """
    distinct = list(dict.fromkeys(paths))
    memory = _read_memory()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = dict(
            zip(distinct, pool.map(functools.partial(_check_one, memory), distinct))
        )
    faults = [
        f"{printable(path)} {result.reason}"
        for path, result in results.items()
        if isinstance(result, ImageError)
    ]
    found = {
        os.path.realpath(path): list(result)
        for path, result in results.items()
        if isinstance(result, FileFacts)
    }
    if any(memory.get(path) != facts for path, facts in found.items()):
        # Read once more, as another run may have added to it meanwhile.
        _write_memory({**_read_memory(), **found})
    if faults:
        raise ValueError(
            f"{len(faults)} of {len(distinct)} image files cannot be used: "
            f"{name_some(faults, '; ')}. Repair or remove them, or name the "
            "others in a list:FILE."
        )
    return [results[path] for path in paths]


def printable(path: str | os.PathLike) -> str:
    """A path as text that any terminal and log file takes: one line of Unicode."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in os.fspath(path)
    )


def name_some(names: Sequence[str], separator: str = ", ") -> str:
    """The first `MAX_NAMED` names, and how many there are beyond."""
    named = separator.join(names[:MAX_NAMED])
    beyond = len(names) - MAX_NAMED
    return named if beyond <= 0 else f"{named}{separator}and {beyond} more"


def _check_one(memory: dict, path: str) -> FileFacts | ImageError:
    try:
        status = os.stat(path)
    except OSError as error:
        return ImageError(path, f"cannot be read: {error.strerror}")
    state = [status.st_size, status.st_mtime_ns]
    facts = memory.get(os.path.realpath(path))
    if _are_facts(facts) and facts[:2] == state:
        return FileFacts(*facts)
    try:
        height, width, _ = load(path).shape
    except ImageError as error:
        return error
    return FileFacts(*state, width, height)


def _are_facts(value) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(FileFacts._fields)
        and all(isinstance(number, int) for number in value)
    )


def _memory_path() -> pathlib.Path:
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(folder) / "ttl_jax" / "checked_images.json"


def _read_memory() -> dict:
    """`FileFacts` as lists, by real path; nothing where the file is absent, old or damaged."""
    try:
        memory = json.loads(_memory_path().read_bytes())
        if memory["checked_by"] == _CHECKED_BY and isinstance(memory["files"], dict):
            return memory["files"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        logging.warning("Checking images anew: %s: %r", _memory_path(), error)
    return {}


def _write_memory(files: dict) -> None:
    """Replaces the file at once, as other runs may read it meanwhile."""
    path = _memory_path()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with open(descriptor, "w") as file:
            json.dump({"checked_by": _CHECKED_BY, "files": files}, file)
        os.replace(temporary, path)
    except OSError as error:
        logging.warning("Images will be checked again: %s: %s", path, error)
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
