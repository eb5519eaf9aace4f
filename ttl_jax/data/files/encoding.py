"""Writes photographs: PNG, JPEG, WebP, TIFF, by suffix.

Arrays and metadata are those of `decoding.Picture`. PNG, TIFF and WebP are lossless, JPEG
has full colour resolution. Pillow cannot hold colour of 16 bits, so it is encoded here.
"""

import io
import os
import pathlib
import zlib
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from ttl_jax import atomic_files

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
SUFFIXES = tuple(FORMATS)

_SAVE_OPTIONS = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True},
}


def write_image(
    path: str | os.PathLike[str], array: np.ndarray, info: dict[str, Any] | None = None
) -> None:
    """Writes a photograph in the format of the path's suffix, completely or not at all.

    Args:
      path: Path of the file; an existing one is replaced.
      array: Pixels as `Picture.array`; [H, W, 1] is grey too.
      info: Metadata as `Picture.info`.

    Raises:
      ValueError: If the format is unknown or cannot hold this depth or alpha, or the
        array has another shape or type.
      OSError: If the file cannot be written.
    """
    path = pathlib.Path(path)
    image_format = _format_of(path)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    num_channels = 1 if array.ndim == 2 else array.shape[-1]
    if array.dtype not in (np.uint8, np.uint16) or (
        array.ndim != 2 and not (array.ndim == 3 and 2 <= num_channels <= 4)
    ):
        raise ValueError(
            f"{path}: expected uint8 or uint16 of shape [H, W] or [H, W, 1 to 4], not "
            f"{array.dtype} of shape {array.shape}."
        )
    if array.dtype == np.uint16 and image_format in ("JPEG", "WEBP"):
        raise ValueError(f"{path}: {image_format} holds 8 bits; use PNG or TIFF.")
    if num_channels in (2, 4) and image_format == "JPEG":
        raise ValueError(f"{path}: JPEG holds no alpha; use PNG, WebP or TIFF.")
    # In memory first: on a full disk Pillow writes half a JPEG file without an error.
    encoded = io.BytesIO()
    _encode(encoded, image_format, array, info or {})
    atomic_files.write_bytes(path, encoded.getvalue())


def _format_of(path: pathlib.Path) -> str:
    """Pillow's name of the format of a suffix."""
    if (suffix := path.suffix.lower()) in FORMATS:
        return FORMATS[suffix]
    raise ValueError(
        f"{path}: unknown suffix {path.suffix!r}; known: {', '.join(SUFFIXES)}."
    )


def _encode(
    stream: BinaryIO, image_format: str, array: np.ndarray, info: dict[str, Any]
) -> None:
    """Writes a picture that the format can hold."""
    array = np.ascontiguousarray(array)
    if image_format == "TIFF":
        _encode_tiff(stream, array, info)
    elif array.dtype == np.uint16 and array.ndim == 3:  # as PNG
        _encode_png_16_bit(stream, array, info)
    else:
        image = Image.fromarray(array)
        image.save(stream, image_format, **_SAVE_OPTIONS[image_format], **info)


def _encode_png_16_bit(
    stream: BinaryIO, array: np.ndarray, info: dict[str, Any]
) -> None:
    """A PNG of 16-bit grey and alpha, RGB, or RGB and alpha (ISO/IEC 15948)."""
    height, width, num_channels = array.shape
    colour_type = {2: 4, 3: 2, 4: 6}[num_channels]
    header = np.array([width, height], ">u4").tobytes()
    header += bytes([16, colour_type, 0, 0, 0])

    stream.write(b"\x89PNG\r\n\x1a\n")
    PngImagePlugin.putchunk(stream, b"IHDR", header)
    if "icc_profile" in info:
        profile = zlib.compress(info["icc_profile"])
        PngImagePlugin.putchunk(stream, b"iCCP", b"ICC Profile\0\0", profile)
    if "dpi" in info:
        per_metre = np.array([round(value / 0.0254) for value in info["dpi"]], ">u4")
        PngImagePlugin.putchunk(stream, b"pHYs", per_metre.tobytes(), b"\1")
    if "exif" in info:
        PngImagePlugin.putchunk(stream, b"eXIf", info["exif"].removeprefix(b"Exif\0\0"))

    rows = array.astype(">u2").reshape(height, -1).view(np.uint8)
    rows = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))  # filter 2, "Up"
    rows = np.insert(rows, 0, 2, axis=1)
    PngImagePlugin.putchunk(stream, b"IDAT", zlib.compress(rows.tobytes()))
    PngImagePlugin.putchunk(stream, b"IEND")


def _encode_tiff(stream: BinaryIO, array: np.ndarray, info: dict[str, Any]) -> None:
    """A deflated TIFF of any picture (TIFF 6.0 with Adobe's supplement).

    Pillow's own encoder cannot hold 16-bit colour, and does not compress files with EXIF
    data; its directory of tags can be used.
    """
    height, width = array.shape[:2]
    num_channels = array.size // (height * width)
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    exif = Image.Exif()
    exif.load(info.get("exif", b""))
    for tag in exif:
        is_group = tag in TiffTags.TAGS_V2_GROUPS
        ifd[tag] = exif.get_ifd(tag) if is_group else exif[tag]
    if "icc_profile" in info:
        ifd[TiffImagePlugin.ICCPROFILE] = info["icc_profile"]
    if "dpi" in info:
        x_resolution, y_resolution = info["dpi"]
        ifd[TiffImagePlugin.X_RESOLUTION] = x_resolution
        ifd[TiffImagePlugin.Y_RESOLUTION] = y_resolution
        ifd[TiffImagePlugin.RESOLUTION_UNIT] = 2  # inch

    # Predictor 2: each sample but a row's first is its difference to the left one.
    samples = array.astype(array.dtype.newbyteorder("<"))
    samples[:, 1:] -= array[:, :-1]
    strip = zlib.compress(samples.tobytes())

    ifd[TiffImagePlugin.IMAGEWIDTH] = width
    ifd[TiffImagePlugin.IMAGELENGTH] = height
    ifd[TiffImagePlugin.BITSPERSAMPLE] = (8 * array.itemsize,) * num_channels
    ifd[TiffImagePlugin.SAMPLESPERPIXEL] = num_channels
    ifd[TiffImagePlugin.COMPRESSION] = 8  # Adobe deflate
    ifd[TiffImagePlugin.PREDICTOR] = 2
    ifd[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = 1 if num_channels < 3 else 2
    if num_channels in (2, 4):
        ifd[TiffImagePlugin.EXTRASAMPLES] = (2,)  # alpha, not premultiplied
    ifd[TiffImagePlugin.ROWSPERSTRIP] = height
    ifd[TiffImagePlugin.STRIPBYTECOUNTS] = len(strip)
    ifd.tagtype[TiffImagePlugin.STRIPOFFSETS] = TiffTags.LONG
    ifd[TiffImagePlugin.STRIPOFFSETS] = 0  # saving adds the end of the directory
    ifd.save(stream)
    stream.write(strip)
