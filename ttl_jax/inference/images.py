"""Photographs from files and into files: PNG, JPEG, WebP, TIFF, by suffix.

Pixels keep what they are: depth (uint8 or uint16), grey or RGB, alpha. In arrays that is
[H, W] grey, [H, W, 2] grey and alpha, [H, W, 3] RGB, [H, W, 4] RGB and alpha. Palettes
and CMYK become RGB. Arrays are upright: the orientation of the EXIF data is applied to
the pixels and reset. PNG, TIFF and WebP are written without loss, JPEG at full colour
resolution.

The codecs are Pillow's. Its images hold no colour of 16 bits, which is why this module
decodes such files twice (see `_decode_16_bit_colour`) and encodes them itself.
"""

import contextlib
import io
import math
import os
import pathlib
import sys
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from absl import logging
from PIL import (
    ExifTags,
    Image,
    ImageOps,
    PngImagePlugin,
    TiffImagePlugin,
    TiffTags,
    UnidentifiedImageError,
)

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

# What a TIFF file says about its own layout; its EXIF data lists it among the rest.
_TIFF_LAYOUT_TAGS = frozenset(
    {
        TiffImagePlugin.IMAGEWIDTH,
        TiffImagePlugin.IMAGELENGTH,
        TiffImagePlugin.BITSPERSAMPLE,
        TiffImagePlugin.COMPRESSION,
        TiffImagePlugin.PHOTOMETRIC_INTERPRETATION,
        TiffImagePlugin.FILLORDER,
        TiffImagePlugin.STRIPOFFSETS,
        TiffImagePlugin.SAMPLESPERPIXEL,
        TiffImagePlugin.ROWSPERSTRIP,
        TiffImagePlugin.STRIPBYTECOUNTS,
        TiffImagePlugin.PLANAR_CONFIGURATION,
        TiffImagePlugin.PREDICTOR,
        TiffImagePlugin.COLORMAP,
        TiffImagePlugin.TILEWIDTH,
        TiffImagePlugin.TILELENGTH,
        TiffImagePlugin.TILEOFFSETS,
        TiffImagePlugin.TILEBYTECOUNTS,
        TiffImagePlugin.SUBIFD,
        TiffImagePlugin.EXTRASAMPLES,
        TiffImagePlugin.SAMPLEFORMAT,
        TiffImagePlugin.JPEGTABLES,
        TiffImagePlugin.YCBCRSUBSAMPLING,
        TiffImagePlugin.REFERENCEBLACKWHITE,
        TiffImagePlugin.XMP,
        TiffImagePlugin.ICCPROFILE,
    }
)


class Picture(NamedTuple):
    """A decoded photograph.

    Attributes:
      array: Upright pixels, uint8 or uint16, [H, W] or [H, W, 2 to 4].
      info: What `write_image` puts beside them, each where the file had it: "exif"
        (bytes, orientation reset), "icc_profile" (bytes), "dpi" (x, y).
    """

    array: np.ndarray
    info: dict[str, Any]


def read_image(path: str | os.PathLike[str]) -> Picture:
    """The photograph in a file, upright, with its depth and its metadata.

    Note: Pillow bounds the size at 179 million pixels.

    Raises:
      ValueError: The file is empty, damaged, animated or of several pages, or holds
        pixels that are none of those above; one line that names the file.
      OSError: It cannot be opened.
    """
    with _opened(path) as (data, image):
        num_images = getattr(image, "n_frames", 1)
        # A multi-picture object is how cameras add previews to one JPEG photograph.
        if num_images > 1 and image.format != "MPO":
            raise ValueError(f"it holds {num_images} images, not one photograph")
        rawmode = _rawmode(image)  # before the metadata: a PNG loads to find them
        info = _metadata(image)
        if image.mode.startswith("I;16"):
            array = _grey_16_bit(image, rawmode)
        elif ";16" in rawmode and image.mode != "CMYK":
            array = _decode_16_bit_colour(data, rawmode)
        else:
            array = _decode_8_bit(image)
    return Picture(array, info)


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of the upright photograph in a file, from its header alone.

    Raises:
      ValueError, OSError: As `read_image`, as far as the header shows.
    """
    with _opened(path) as (_, image):
        width, height = image.size
        # Pillow's TIFF images state the size they will have after loading.
        if image.format != "TIFF" and _is_on_its_side(image.getexif()):
            width, height = height, width
    return height, width


def write_image(
    path: str | os.PathLike[str],
    array: np.ndarray,
    info: dict[str, Any] | None = None,
) -> None:
    """Writes a photograph in the format of the path's suffix, completely or not at all.

    Args:
      path: Where to; an existing file is replaced.
      array: Pixels as `Picture.array`; [H, W, 1] is grey too.
      info: Metadata as `Picture.info`.

    Raises:
      ValueError: The format is unknown or cannot hold this depth or alpha, or the array
        is no such picture.
      OSError: The file cannot be written.
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
    with atomic_file(path) as stream:
        _encode(stream, image_format, array, info or {})


def as_rgb8(array: np.ndarray) -> np.ndarray:
    """The picture as uint8 RGB [H, W, 3]: 16 bits rounded, grey repeated, no alpha."""
    if array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.ndim == 2:
        array = array[..., np.newaxis]
    colour = array[..., :3] if array.shape[-1] >= 3 else array[..., :1]
    return np.repeat(colour, 3 // colour.shape[-1], axis=-1)


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary stream that becomes the file when the block ends without an exception.

    Until then whatever is at `path` stays; a block that fails leaves no trace. The
    stream lies in the same folder, hidden, as only within one file system is renaming
    atomic.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{os.urandom(8).hex()}.partial")
    try:
        with open(partial, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _format_of(path: pathlib.Path) -> str:
    """Pillow's name of the format that the suffix stands for."""
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(
            f"{path}: unknown suffix {path.suffix!r}; known: {', '.join(SUFFIXES)}."
        ) from None


# Reading


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, Image.Image]]:
    """The bytes of a file and its image; what fails in the block names the file."""
    data = pathlib.Path(path).read_bytes()
    if not data:
        raise ValueError(f"{path} is empty (0 bytes).")
    try:
        # Pillow warns of metadata that it repairs and of sizes that we allow.
        with warnings.catch_warnings(action="ignore"), _open(data) as image:
            yield data, image
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{path} cannot be read: it is no PNG, JPEG, WebP or TIFF file, or its "
            "beginning is damaged."
        ) from error
    except Exception as error:  # The codecs raise nearly anything on damaged files.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} cannot be read: {reason}.") from error


def _open(data: bytes) -> Image.Image:
    # The other formats of Pillow are no photographs, and some start other programs.
    return Image.open(io.BytesIO(data), formats=sorted(set(FORMATS.values())))


def _rawmode(image: Image.Image) -> str:
    """How the file lays out its samples, in Pillow's terms, "" where it does not say."""
    if not image.tile:
        return ""
    args = image.tile[0].args
    return args if isinstance(args, str) else args[0]


def _decode_8_bit(image: Image.Image) -> np.ndarray:
    ImageOps.exif_transpose(image, in_place=True)
    has_alpha = image.has_transparency_data
    if image.mode in ("1", "L", "LA", "La"):
        mode = "LA" if has_alpha else "L"
    elif image.mode in ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"):
        mode = "RGBA" if has_alpha else "RGB"
    else:
        raise ValueError(f"its pixels ({image.mode}) are neither of 8 nor of 16 bits")
    return np.asarray(image.convert(mode))


def _grey_16_bit(image: Image.Image, rawmode: str) -> np.ndarray:
    if rawmode not in ("I;16", "I;16B", "I;16N"):
        raise ValueError(f"its pixels ({rawmode}) are neither of 8 nor of 16 bits")
    if "transparency" in image.info:
        raise ValueError("it marks one 16-bit level as transparent")
    ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image).astype(np.uint16)


def _decode_16_bit_colour(data: bytes, rawmode: str) -> np.ndarray:
    """16-bit colour, from two decodings that each keep one byte of every sample.

    Pillow unpacks 16-bit colour to 8 bits by keeping the high byte. Told that the file
    has the other byte order, it keeps the low one.
    """
    layout, byte_order = rawmode[:-1], rawmode[-1]
    if layout == "LA;16":  # two 16-bit samples are as wide as four bytes
        samples = _unpacked(data, "RGBA")
        return np.ascontiguousarray(samples).view(">u2").astype(np.uint16)
    if layout not in ("RGB;16", "RGBX;16", "RGBA;16"):
        raise ValueError(f"its pixels ({rawmode}) are none that can be kept at 16 bits")
    if byte_order == "N":
        byte_order = "L" if sys.byteorder == "little" else "B"
    high, low = ("L", "B") if byte_order == "L" else ("B", "L")
    array = _unpacked(data, layout + high).astype(np.uint16) << 8
    return array | _unpacked(data, layout + low)


def _unpacked(data: bytes, rawmode: str) -> np.ndarray:
    """The upright image as Pillow unpacks it when the samples are laid out so."""
    with _open(data) as image:
        if "transparency" in image.info:
            raise ValueError("it marks one 16-bit colour as transparent")
        if getattr(image, "tag_v2", {}).get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2:
            raise ValueError("it keeps each 16-bit channel in a plane of its own")
        image.tile = [
            tile._replace(
                args=rawmode
                if isinstance(tile.args, str)
                else (rawmode, *tile.args[1:])
            )
            for tile in image.tile
        ]
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(image)


def _metadata(image: Image.Image) -> dict[str, Any]:
    """`Picture.info` of an image that was opened and not loaded yet."""
    info = {}
    try:
        exif = _upright_exif(image.getexif())
    except Exception as error:  # noqa: BLE001 (metadata never cost a photograph)
        logging.warning("Damaged EXIF data are left out: %s", error)
        image.info.pop("exif", None)
        exif = b""
    if exif:
        info["exif"] = exif
    dpi = tuple(float(value) for value in image.info.get("dpi", ()))
    if dpi and all(math.isfinite(value) and value > 0 for value in dpi):
        info["dpi"] = dpi[::-1] if _is_on_its_side(image.getexif()) else dpi
    # A profile of inks says nothing about the RGB that CMYK is converted to.
    if image.info.get("icc_profile") and image.mode != "CMYK":
        info["icc_profile"] = image.info["icc_profile"]
    return info


def _is_on_its_side(exif: Image.Exif) -> bool:
    """Whether the pixels as stored have the photograph's width as their height."""
    return exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)


def _upright_exif(exif: Image.Exif) -> bytes:
    """The EXIF data for the upright pixels, b"" if there are none.

    Pillow leaves out the thumbnail, which would show the rain. What is given stays: by
    its orientation the pixels are yet to be turned.
    """
    upright = Image.Exif()
    upright.load(exif.tobytes())
    for tag in _TIFF_LAYOUT_TAGS.intersection(upright):
        del upright[tag]
    if ExifTags.Base.Orientation in upright:
        upright[ExifTags.Base.Orientation] = 1
    details = upright.get_ifd(ExifTags.IFD.Exif)
    width, height = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
    if _is_on_its_side(exif) and width in details and height in details:
        details[width], details[height] = details[height], details[width]
    return upright.tobytes() if upright else b""


# Writing


def _encode(
    stream: BinaryIO, image_format: str, array: np.ndarray, info: dict[str, Any]
) -> None:
    """Writes the picture at the stream's position; the format is known to hold it."""
    array = np.ascontiguousarray(array)
    if image_format == "TIFF":
        _encode_tiff(stream, array, info)
    elif array.dtype == np.uint16 and array.ndim == 3:  # PNG, of what can hold it
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

    Pillow's own encoder holds no 16-bit colour, and compresses nothing that has EXIF
    data; its directory of tags does what is needed.
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
