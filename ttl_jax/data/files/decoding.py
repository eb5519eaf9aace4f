"""Decodes photographs: PNG, JPEG, WebP, TIFF, BMP, GIF, JPEG 2000, AVIF and HEIC.

The suffix of a file does not matter. HEIC needs the package pillow-heif.

Pixels keep their depth (uint8 or uint16), colour and alpha. Arrays are [H, W] for grey,
[H, W, 2] for grey and alpha, [H, W, 3] for RGB, [H, W, 4] for RGB and alpha. Palettes,
CMYK and CIELAB become RGB. Arrays are upright: the orientation in the EXIF data is
applied to the pixels and reset. They may be read-only.

The codecs are those of Pillow, which limits images to 179 million pixels. Pillow has no
mode for 16-bit colour, so such files are decoded twice (`_decode_16_bit_colour`). Colour of
more than 8 bits in JPEG 2000, AVIF and HEIC becomes 8 bits; `metadata` reports it.

The memory is bounded: an image is rejected if its header claims more than 179 million
pixels. Above 17 million pixels, it is also rejected if it claims more than 256 pixels
per byte of the file. No photograph is compressed that much.
"""

import contextlib
import functools
import io
import logging
import math
import os
import pathlib
import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL import TiffImagePlugin as tiff

from ttl_jax.data.files import metadata, transparency

try:
    import pillow_heif  # pyright: ignore[reportMissingImports]

    pillow_heif.register_heif_opener()
    HEIC_SUFFIXES = (".heic", ".heif")
except ImportError:
    HEIC_SUFFIXES = ()

_logger = logging.getLogger("ttl_jax")

# Suffixes of photographs in folders.
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif",
    ".jp2", ".avif", *HEIC_SUFFIXES,
)  # fmt: skip

# Pillow's other formats are not for photographs, and some of them start other programs.
_FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF"]
_FORMATS += ["HEIF"] if HEIC_SUFFIXES else []

_MAX_FILE_BYTES = 2**31  # no encoding of 179 million pixels of 4 x 16 bits needs more
_ALWAYS_DECODED = 2**24  # pixels
_MAX_PIXELS_PER_BYTE = 256  # JPEG needs at least 2 bits for 64 pixels of flat grey

# Pillow's modes of 8-bit colour, all of which it converts to RGB.
_COLOUR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")

# Pillow does not know 16-bit grey and alpha in a TIFF, which `encoding` writes. Two such
# samples are as wide as four bytes; see `_as_grey_and_alpha`.
_GREY_AND_ALPHA_BITS = (16, 16)
for _byte_order in (b"II", b"MM"):
    _layout = (_byte_order, 1, (1,), 1, _GREY_AND_ALPHA_BITS, (2,))
    tiff.OPEN_INFO[_layout] = ("RGBA", "RGBA")

# Pillow warns about metadata that it repairs, and about sizes that we allow. The filter
# applies to the whole process, since threads would undo each other's
# `warnings.catch_warnings`.
warnings.filterwarnings("ignore", module=r"PIL\.")


class ImageError(ValueError):
    """A file cannot be used as a photograph; the message names it, in one line.

    Attributes:
      reason: Reason, which follows the name in the message: "is empty".
    """

    def __init__(self, path: str | os.PathLike[str], reason: str):
        super().__init__(f"{printable(path)} {reason}.")
        self.reason = reason


class Picture(NamedTuple):
    """A decoded photograph.

    Attributes:
      array: Upright pixels, uint8 or uint16, [H, W] or [H, W, 2 to 4].
      info: Metadata of the file; see `metadata`.
    """

    array: np.ndarray
    info: dict[str, Any]


def read_image(path: str | os.PathLike[str]) -> Picture:
    """Reads the photograph in a file, upright, with its depth and its metadata.

    Raises:
      ImageError: If the file cannot be read, is empty, damaged or animated, has several
        pages, or has an unsupported type of pixels.
    """
    return _read(path, with_info=True)


def read_rgb8(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a file as uint8 RGB [H, W, 3] (see `as_rgb8`), without metadata, to save time.

    Raises:
      ImageError: As `read_image`.
    """
    return as_rgb8(_read(path, with_info=False).array)


def decode_rgb8(data: bytes, name: str) -> np.ndarray:
    """Decodes the bytes of a file as `read_rgb8`; errors contain the name."""
    return as_rgb8(_read(name, with_info=False, data=data).array)


def decode_image(data: bytes, name: str) -> Picture:
    """Decodes the bytes of a file as `read_image`; errors contain the name."""
    return _read(name, with_info=True, data=data)


def read_header(data: bytes, name: str) -> tuple[str, int]:
    """Returns Pillow's name of the format and the number of pixels, without decoding.

    Raises:
      ImageError: As `read_image`, for damage in the header.
    """
    with _opened(name, data, loads=False) as (_, image, _):
        return image.format or "", image.width * image.height


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Reads the bytes of an image file.

    Raises:
      ImageError: If it cannot be read, is not a file (a pipe has no end), or is too large.
    """
    try:
        num_bytes = os.stat(path).st_size
        if not os.path.isfile(path):
            raise ImageError(path, "is not a file")
        if num_bytes > _MAX_FILE_BYTES:
            raise ImageError(path, f"has {num_bytes:,} bytes, too many to be read")
        return pathlib.Path(path).read_bytes()
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: not a path at all
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(path, f"cannot be read: {reason}") from error


def count_pixels(path: str | os.PathLike[str]) -> int:
    """Returns the number of pixels in the header of a file; 0 if it cannot be read."""
    if not os.path.isfile(path):  # a pipe has no end
        return 0
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.width * image.height
    except Exception:  # noqa: BLE001 (the codecs raise nearly anything)
        return 0


def as_rgb8(array: np.ndarray) -> np.ndarray:
    """Converts to uint8 RGB [H, W, 3]: 16 bits are rounded, grey repeated, alpha dropped.

    Colours under alpha 0 become those of the nearest visible pixels.
    """
    array = np.atleast_3d(as_8_bit(array))
    colour, alpha = np.split(array, [1 if array.shape[-1] < 3 else 3], axis=-1)
    colour = transparency.fill_hidden(colour, alpha)
    if colour.shape[-1] == 1:
        return np.repeat(colour, 3, axis=-1)
    return np.ascontiguousarray(colour)


def as_8_bit(array: np.ndarray) -> np.ndarray:
    """Converts uint16 to uint8 by rounding; returns uint8 unchanged."""
    if array.dtype == np.uint8:
        return array
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def printable(path: str | os.PathLike[str]) -> str:
    """Returns a path as one line of printable text, for terminals and log files."""
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in os.fspath(path)
    )


def describe(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]


@functools.lru_cache(maxsize=1024)
def warn_once(line: str) -> None:
    """Logs each text only once, since training opens files again and again."""
    _logger.warning("%s", line)


@contextlib.contextmanager
def _opened(
    path: str | os.PathLike[str], data: bytes | None = None, loads: bool = True
) -> Iterator[tuple[bytes, Image.Image, str]]:
    """Yields the bytes of a file, its image with all metadata, and its `_rawmode`.

    Errors in the block are raised as `ImageError` with the path.

    Args:
      path: Path of the file, or a name for errors.
      data: Bytes of the file; None reads them.
      loads: Whether to decode a PNG, whose metadata may follow the pixels.
    """
    try:
        if data is None:
            data = read_bytes(path)
        if not data:
            raise ImageError(path, "is empty (0 bytes)")
        with _open(data) as image:
            _check_claim(image, len(data))
            rawmode = _rawmode(image)  # before loading, which removes it
            if image.format == "PNG" and loads:
                image.load()
            yield data, image, rawmode
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        reason = (
            "it is not a PNG, JPEG, WebP, TIFF, BMP, GIF, JPEG 2000 or AVIF image, or "
            "its beginning is damaged"
        )
        if data and data.startswith(tuple(tiff.PREFIXES)):
            reason = "its pixels have neither 8 nor 16 bits, or it is damaged"
        raise ImageError(path, f"cannot be read: {reason}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(path, f"has too many pixels: {error}") from error
    except Exception as error:  # The codecs raise nearly anything on damaged files.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        reason = reason or type(error).__name__
        raise ImageError(path, f"cannot be read: {reason}") from error


def _check_claim(image: Image.Image, num_bytes: int) -> None:
    """Rejects an image, or a tile of a TIFF, that is too large for its file."""
    tags = getattr(image, "tag_v2", {})
    tile = [int(np.max(tags.get(t, 0))) for t in (tiff.TILEWIDTH, tiff.TILELENGTH)]
    num_pixels = max(image.width * image.height, math.prod(tile))
    if num_pixels > max(_ALWAYS_DECODED, _MAX_PIXELS_PER_BYTE * num_bytes):
        raise ValueError(f"it claims {num_pixels:,} pixels in {num_bytes:,} bytes")


def _open(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data), formats=_FORMATS)


def _read(
    path: str | os.PathLike[str], with_info: bool, data: bytes | None = None
) -> Picture:
    with _opened(path, data) as (encoded, image, rawmode):
        # Cameras add previews to a JPEG photograph as a multi-picture object.
        num_pictures = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if num_pictures > 1:
            raise ValueError(
                f"it is animated or has several pages: {num_pictures} pictures in one file"
            )
        info = {}
        if with_info:
            warn = functools.partial(_logger.warning, "%s: %s", printable(path))
            info = metadata.read(image, encoded, warn)
        # Pillow itself rotates the pixels of a TIFF.
        orientation = 1 if image.format == "TIFF" else metadata.orientation(image)
        try:
            array = _pixels(encoded, image, rawmode)
        except OSError:
            if image.format not in ("JPEG", "MPO"):
                raise
            array = _pixels_without_end(encoded)
            if array is None:
                raise
            warn_once(f"{printable(path)}: its end marker is missing")
        return Picture(_turned(array, orientation), info)


# Pixels


def _pixels_without_end(data: bytes) -> np.ndarray | None:
    """Returns the pixels of a JPEG if only its end marker is missing, else None.

    Pillow reports the same error if pixels are missing. But then the decoded pixels depend
    on appended bytes, so this function appends different bytes and compares the pixels.
    """
    data = data.rstrip(b"\xff")  # half a marker
    decoded = []
    for appended in (
        b"",
        *(level * 64 for level in (b"\0", b"\x55", b"\xaa", b"\x7f")),
    ):
        with _open(data + appended + b"\xff\xd9") as image:
            if image.info.get("progressive"):  # whole scans may be missing
                return None
            decoded.append(_pixels(data, image, ""))
    same = all(np.array_equal(decoded[0], other) for other in decoded[1:])
    return decoded[0] if same else None


def _rawmode(image: ImageFile.ImageFile) -> str:
    """Returns Pillow's name of the layout of samples in the file; "" if unknown."""
    args = image.tile[0].args if image.tile else ""
    rawmode = args[0] if isinstance(args, tuple) else args
    return rawmode if isinstance(rawmode, str) else ""


def _pixels(data: bytes, image: Image.Image, rawmode: str) -> np.ndarray:
    """Returns pixels, not upright yet; Pillow itself rotates those of a TIFF."""
    tags = getattr(image, "tag_v2", {})
    is_planar = tags.get(tiff.PLANAR_CONFIGURATION) == 2
    if is_planar and 16 in tags.get(tiff.BITSPERSAMPLE, ()):
        raise ValueError("it keeps 16-bit channels in separate planes")
    image.load()
    if image.mode.startswith("I;16"):
        # The decoder of JPEG 2000 has no raw modes; it scales 9 to 15 bits up to 16.
        known = ("I;16", "I;16B", "I;16N")
        if image.format != "JPEG2000" and rawmode not in known:
            raise ValueError(f"its pixels ({rawmode}) have neither 8 nor 16 bits")
        array = np.asarray(image).astype(np.uint16)
        if tags.get(tiff.PHOTOMETRIC_INTERPRETATION) == 0:  # Pillow inverts 8 bits only
            array = 65535 - array
    elif tags.get(tiff.BITSPERSAMPLE) == _GREY_AND_ALPHA_BITS:
        array = _as_grey_and_alpha(image)
    # BGR;16 is three colours in 16 bits; CMYK is converted to RGB at 8 bits.
    elif ";16" in rawmode and not rawmode.startswith(("BGR", "CMYK")):
        array = _decode_16_bit_colour(data, image, rawmode)
    else:
        return _decode_8_bit(image)
    if "transparency" not in image.info:
        return array
    is_clear = np.atleast_3d(array == image.info["transparency"]).all(axis=-1)
    return np.dstack([array, np.where(is_clear, 0, 65535).astype(np.uint16)])


def _decode_8_bit(image: Image.Image) -> np.ndarray:
    has_alpha = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La"):
        mode = "LA" if has_alpha else "L"
    elif image.mode in _COLOUR_MODES:
        mode = "RGBA" if has_alpha else "RGB"
    else:
        raise ValueError(f"its pixels ({image.mode}) have neither 8 nor 16 bits")
    return np.asarray(image.convert(mode))


def _as_grey_and_alpha(image: Image.Image) -> np.ndarray:
    """Returns uint16 [H, W, 2] from a TIFF whose samples Pillow took for pairs of bytes."""
    is_raw = image.info["compression"] == "raw"  # other codecs return the native order
    is_big = is_raw and image.tag_v2.prefix == b"MM"  # pyright: ignore[reportAttributeAccessIssue]
    order = ">" if is_big else "<" if is_raw else "="
    return np.ascontiguousarray(image).view(f"{order}u2").astype(np.uint16)


def _decode_16_bit_colour(data: bytes, image: Image.Image, rawmode: str) -> np.ndarray:
    """Returns 16-bit colour from two decodings that each keep one byte of every sample.

    Pillow unpacks 16-bit colour to 8 bits by keeping the high byte. If it is told the other
    byte order, it keeps the low byte.
    """
    layout, byte_order = rawmode[:-1], rawmode[-1]
    if layout == "LA;16":  # two 16-bit samples are as wide as four bytes
        samples = _unpacked(data, "RGBA")
        return np.ascontiguousarray(samples).view(">u2").astype(np.uint16)
    if layout not in ("RGB;16", "RGBX;16", "RGBA;16"):
        raise ValueError(f"its pixels ({rawmode}) cannot be kept at 16 bits")
    if byte_order == "N":
        byte_order = "L" if sys.byteorder == "little" else "B"
    low = _unpacked(data, layout + ("B" if byte_order == "L" else "L"))
    return np.asarray(image).astype(np.uint16) << 8 | low


def _unpacked(data: bytes, rawmode: str) -> np.ndarray:
    """Returns the pixels, unpacked by Pillow as if the samples had another layout."""
    with _open(data) as image:
        image.tile = [
            tile._replace(args=rawmode if is_text else (rawmode, *tile.args[1:]))  # pyright: ignore[reportOptionalSubscript]
            for tile in image.tile
            for is_text in [isinstance(tile.args, str)]
        ]
        return np.asarray(image)


def _turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Returns upright pixels for an EXIF orientation, 1 to 8."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return np.ascontiguousarray(array)
