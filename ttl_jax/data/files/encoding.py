"""Writes photographs: PNG, JPEG, WebP, TIFF, BMP, JPEG 2000 and AVIF, by suffix.

Arrays and metadata are those of `decoding.Picture`. PNG, TIFF, WebP, BMP and JPEG 2000 are
lossless. A JPEG keeps the quantization tables and the subsampling of the JPEG from
which it was read. Pillow has no mode for 16-bit colour, so it is encoded here.
"""

import io
import math
import os
import pathlib
import zlib
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin, TiffTags

from ttl_jax import atomic_files
from ttl_jax.data.files import decoding, metadata

# Pillow's name of the format of each suffix.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".jp2": "JPEG2000",
    ".avif": "AVIF",
}
_OPTIONS = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
LOSSY = ("JPEG", "WEBP", "AVIF")  # formats with a quality
_WITH_16_BITS = ("PNG", "TIFF")
_WITHOUT_ALPHA = ("JPEG", "BMP")
MOST_SIDE = {"JPEG": 65_500, "WEBP": 16_383}  # pixels; limits of libjpeg and of WebP


def fit(
    path: str | os.PathLike[str], array: np.ndarray, *, reduce: bool = False
) -> np.ndarray:
    """Returns the pixels in a form that the format of a file can store.

    An opaque alpha channel is dropped if the format has no alpha.

    Args:
      path: Path of the file; its suffix determines the format.
      array: Pixels as `Picture.array`; [H, W, 1] is grey too.
      reduce: Whether 16 bits may be reduced to 8.

    Raises:
      ValueError: If the format is unknown or cannot store this size, depth or alpha, or
        the array has another shape or type.
    """
    image_format = format_of(path)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype not in (np.uint8, np.uint16) or not (
        array.ndim == 2 or (array.ndim == 3 and 2 <= array.shape[2] <= 4)
    ):
        raise ValueError(
            f"{path}: expected uint8 or uint16 of shape [H, W] or [H, W, 1 to 4], not "
            f"{array.dtype} of shape {array.shape}."
        )
    most_side = MOST_SIDE.get(image_format, math.inf)
    if max(array.shape[:2]) > most_side:
        raise ValueError(
            f"{path}: {image_format} holds at most {most_side:,} pixels a side; use PNG "
            "or TIFF."
        )
    if array.dtype == np.uint16 and image_format not in _WITH_16_BITS:
        if not reduce:
            raise ValueError(
                f"{path}: {image_format} holds 8 bits; use PNG or TIFF, or reduce the "
                "16 bits by naming the format (--format)."
            )
        array = decoding.as_8_bit(array)
    if array.ndim == 3 and array.shape[2] in (2, 4) and image_format in _WITHOUT_ALPHA:
        if array[..., -1].min() < np.iinfo(array.dtype).max:
            raise ValueError(
                f"{path}: {image_format} has no alpha; use PNG, WebP or TIFF."
            )
        array = array[..., 0] if array.shape[2] == 2 else array[..., :3]
    return array


def write_image(
    path: str | os.PathLike[str],
    array: np.ndarray,
    info: dict[str, Any] | None = None,
    *,
    quality: int | None = None,
) -> None:
    """Writes a photograph atomically, in the format of the path's suffix.

    Args:
      path: Path of the file; an existing file is replaced.
      array: Pixels as for `fit`.
      info: Metadata as `Picture.info`; `metadata.find_lost` names those not written.
      quality: Quality of a JPEG, WebP or AVIF, 1 to 100. If None, a JPEG that was read
        from a JPEG keeps its quality, other JPEG and AVIF files have 95, and WebP is
        lossless.

    Raises:
      ValueError: As `fit`.
      OSError: If the file cannot be written.
    """
    # Encode in memory: on a full disk, Pillow writes half a JPEG file without an error.
    content = encode(path, array, info, quality=quality)
    atomic_files.write_bytes(pathlib.Path(path), content)


def encode(
    path: str | os.PathLike[str],
    array: np.ndarray,
    info: dict[str, Any] | None = None,
    *,
    quality: int | None = None,
) -> bytes:
    """Returns the bytes that `write_image` writes; only the path's suffix matters."""
    array = np.ascontiguousarray(fit(path, array))
    image_format, info = format_of(path), info or {}
    encoded = io.BytesIO()
    if image_format == "TIFF":
        _encode_tiff(encoded, array, info)
    elif array.dtype == np.uint16 and array.ndim == 3:  # as PNG
        _encode_png_16_bit(encoded, array, info)
    else:
        options = _OPTIONS.get(image_format, {}) | metadata.save_options(
            image_format, info
        )
        if quality is not None and image_format in LOSSY:
            options = options | {"quality": quality, "lossless": False}
            options.pop("qtables", None)
        elif "qtables" in options:
            del options["quality"]
        Image.fromarray(array).save(encoded, image_format, **options)
    return encoded.getvalue()


def format_of(path: str | os.PathLike[str]) -> str:
    """Returns Pillow's name of the format for the suffix of a path.

    Raises:
      ValueError: If the suffix is unknown.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    raise ValueError(f"{path}: unknown suffix {suffix!r}; known: {', '.join(FORMATS)}.")


def _encode_png_16_bit(
    stream: BinaryIO, array: np.ndarray, info: dict[str, Any]
) -> None:
    """Writes a PNG of 16-bit grey and alpha, RGB, or RGB and alpha (ISO/IEC 15948)."""
    height, width, num_channels = array.shape
    colour_type = {2: 4, 3: 2, 4: 6}[num_channels]
    header = np.array([width, height], ">u4").tobytes()
    header += bytes([16, colour_type, 0, 0, 0])

    stream.write(b"\x89PNG\r\n\x1a\n")
    PngImagePlugin.putchunk(stream, b"IHDR", header)
    chunks = metadata.png_chunks(info)
    if "icc_profile" in info:
        profile = zlib.compress(info["icc_profile"])
        chunks.insert(0, (b"iCCP", b"ICC Profile\0\0" + profile))
    if "dpi" in info:
        per_metre = np.array([round(value / 0.0254) for value in info["dpi"]], ">u4")
        chunks.append((b"pHYs", per_metre.tobytes() + b"\1"))
    if "exif" in info:
        chunks.append((b"eXIf", info["exif"].removeprefix(b"Exif\0\0")))
    for name, content in chunks:
        PngImagePlugin.putchunk(stream, name, content)

    rows = array.astype(">u2").reshape(height, -1).view(np.uint8)
    rows = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))  # filter 2, "Up"
    rows = np.insert(rows, 0, 2, axis=1)
    PngImagePlugin.putchunk(stream, b"IDAT", zlib.compress(rows.tobytes()))
    PngImagePlugin.putchunk(stream, b"IEND")


def _encode_tiff(stream: BinaryIO, array: np.ndarray, info: dict[str, Any]) -> None:
    """Writes any picture as a TIFF with deflate (TIFF 6.0 with Adobe's supplement).

    Pillow's encoder does not support 16-bit colour, and does not compress files with EXIF
    data. Its directory of tags is used here.
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
    if "xmp" in info:
        ifd.tagtype[TiffImagePlugin.XMP] = TiffTags.BYTE
        ifd[TiffImagePlugin.XMP] = info["xmp"]
    if "iptc" in info:
        ifd.tagtype[TiffImagePlugin.PHOTOSHOP_CHUNK] = TiffTags.BYTE
        ifd[TiffImagePlugin.PHOTOSHOP_CHUNK] = info["iptc"]
    if "dpi" in info:
        x_resolution, y_resolution = info["dpi"]
        ifd[TiffImagePlugin.X_RESOLUTION] = x_resolution
        ifd[TiffImagePlugin.Y_RESOLUTION] = y_resolution
        ifd[TiffImagePlugin.RESOLUTION_UNIT] = 2  # inch

    # Predictor 2: each sample, except the first of a row, is a difference to the left one.
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
