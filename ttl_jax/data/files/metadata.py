"""Metadata of photographs: read as one dictionary, and written as the format allows.

Keys of the dictionary, each present only if the file has it:

  exif         bytes, with the orientation reset and without thumbnail
  icc_profile  bytes
  xmp          bytes, with the orientation reset and without HDR gain map
  iptc         bytes of Photoshop's image resources, which contain IPTC data
  comment      bytes
  dpi          (x, y)
  png_chunks   colour and text chunks of a PNG, [(name, bytes), ...]
  jpeg         arguments of Pillow's `save`: quantization, subsampling, progression
  dropped      names of metadata that no format keeps, [text, ...]

Pixels are turned upright when they are read, so every orientation in metadata is reset.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin
from PIL import TiffImagePlugin as tiff

# Tags about the layout of a TIFF file, which Pillow lists among its EXIF data.
_TIFF_LAYOUT_TAGS = frozenset({
    tiff.IMAGEWIDTH, tiff.IMAGELENGTH, tiff.BITSPERSAMPLE, tiff.COMPRESSION,
    tiff.PHOTOMETRIC_INTERPRETATION, tiff.FILLORDER, tiff.STRIPOFFSETS,
    tiff.SAMPLESPERPIXEL, tiff.ROWSPERSTRIP, tiff.STRIPBYTECOUNTS,
    tiff.PLANAR_CONFIGURATION, tiff.PREDICTOR, tiff.COLORMAP, tiff.TILEWIDTH,
    tiff.TILELENGTH, tiff.TILEOFFSETS, tiff.TILEBYTECOUNTS, tiff.SUBIFD,
    tiff.EXTRASAMPLES, tiff.SAMPLEFORMAT, tiff.JPEGTABLES, tiff.YCBCRSUBSAMPLING,
    tiff.REFERENCEBLACKWHITE, tiff.XMP, tiff.ICCPROFILE,
})  # fmt: skip

_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation(?:\s*=\s*["']|>))[0-9]""")
_XMP_GAIN_MAP = re.compile(rb"""\shdrgm:\w+\s*=\s*["'][^"']*["']""")
_GAIN_MAPS = (b"hdrgm:Version", b"urn:com:apple:photo:2020:aux:hdrgainmap")

# Kinds of pixels that become RGB or grey, by Pillow's name.
_CONVERTED = {
    "CMYK": "CMYK (now RGB)",
    "LAB": "CIELAB (now RGB)",
    "P": "palette (now RGB)",
    "PA": "palette (now RGB)",
    "1": "1 bit per pixel (now 8)",
}

_PHOTOSHOP = b"Photoshop 3.0\0"  # begins an APP13 segment of a JPEG
_IPTC_RESOURCE = b"8BIM\x04\x04"  # begins the image resource with IPTC data

_PNG_COLOUR = (b"cICP", b"cHRM", b"gAMA", b"sRGB")
_PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_PNG_XMP = b"XML:com.adobe.xmp"
# Text chunks with EXIF data or XMP, which are read and written separately.
_PNG_OWN_TEXT = (_PNG_XMP, b"Raw profile type exif", b"Raw profile type APP1",
                 b"Raw profile type xmp")  # fmt: skip
# Defaults of an image without colour chunks: cICP 1 13 0 full range; gamma 1/2.2; Rec. 709.
_SRGB = {
    b"cICP": b"\1\x0d\0\1",
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
}


def read(
    image: Image.Image, data: bytes, report: Callable[[str], None]
) -> dict[str, Any]:
    """Returns the metadata of an image, without damaged entries.

    Args:
      image: Image as Pillow opened it; the pixels of a PNG are loaded.
      data: Bytes of the file.
      report: Called with a line about each damaged entry.
    """
    readers = {
        "exif": lambda: _upright_exif(
            image
        ),  # first, as Pillow reports damage only once
        "dpi": lambda: _upright_dpi(image),
        # The profile of a CMYK image does not apply after conversion to RGB.
        "icc_profile": lambda: (
            image.mode not in ("CMYK", "LAB") and image.info.get("icc_profile")
        ),
        "xmp": lambda: _upright_xmp(image),
        "iptc": lambda: _iptc(image),
        # The comment of a JPEG 2000 only names the library that wrote it.
        "comment": lambda: (
            image.format in ("JPEG", "MPO", "GIF") and image.info.get("comment")
        ),
        "png_chunks": lambda: image.format == "PNG" and _png_chunks(data),
        "jpeg": lambda: _jpeg_options(image),
        "dropped": lambda: _dropped(image, data),
    }
    found = {}
    for name, reader in readers.items():
        try:
            if value := reader():
                found[name] = value
        except Exception as error:  # noqa: BLE001 (read the photograph without it)
            report(f"its {name} is damaged: {error}")
    return found


def orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; 1 (upright) if it is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 (read the photograph without it)
        return 1
    return value if value in range(1, 9) else 1


def is_on_its_side(image: Image.Image) -> bool:
    """Returns whether the EXIF orientation exchanges width and height."""
    return orientation(image) >= 5


def save_options(image_format: str, info: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of Pillow's `save` that write metadata.

    Args:
      image_format: Pillow's name of the format.
      info: Metadata as above. Entries that the format does not keep are ignored.
    """
    kept = _list_kept(image_format, info)
    options = {name: info[name] for name in kept}
    if image_format == "JPEG":
        options |= info.get("jpeg", {})
        if iptc := options.pop("iptc", b""):
            segment = _PHOTOSHOP + iptc
            size = struct.pack(">H", len(segment) + 2)
            options["extra"] = b"\xff\xed" + size + segment
    if image_format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for name, content in png_chunks(info):
            options["pnginfo"].add(name, content)
    return options


def png_chunks(info: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    """Returns the colour and text chunks of a PNG with these metadata."""
    chunks = list(info.get("png_chunks", ()))
    if "icc_profile" in info:  # a PNG must not have both a profile and an sRGB chunk
        chunks = [chunk for chunk in chunks if chunk[0] != b"sRGB"]
    if "xmp" in info:
        chunks.append((b"iTXt", _PNG_XMP + b"\0\0\0\0\0" + info["xmp"]))
    if "comment" in info:
        chunks.append((b"tEXt", b"Comment\0" + info["comment"].replace(b"\0", b"")))
    return chunks


def find_lost(image_format: str, info: dict[str, Any]) -> list[str]:
    """Returns the names of the metadata that a format does not keep, for messages."""
    lost = {key for key in info if key in _TITLES} - _list_kept(image_format, info)
    names = {_TITLES[key] for key in lost}
    if image_format != "PNG":
        for name, content in info.get("png_chunks", ()):
            if name in _PNG_TEXT:
                names.add("PNG text")
            elif name != b"sRGB" and content != _SRGB[name]:
                names.add("colour space")
    return [*sorted(names), *info.get("dropped", ())]


_TITLES = {
    "exif": "EXIF", "icc_profile": "colour profile", "xmp": "XMP", "iptc": "IPTC",
    "comment": "comment", "dpi": "resolution",
}  # fmt: skip
_KEPT = {
    "JPEG": set(_TITLES),
    "PNG": set(_TITLES) - {"iptc"},
    "TIFF": set(_TITLES) - {"comment"},
    "WEBP": {"exif", "icc_profile", "xmp"},
    "AVIF": {"exif", "icc_profile", "xmp"},
    "BMP": {"dpi"},
    "JPEG2000": set(),
}
_JPEG_SEGMENT = 65_500  # bytes; a profile may have several segments


def _list_kept(image_format: str, info: dict[str, Any]) -> set[str]:
    """Returns the keys of the metadata that a format keeps."""
    kept = _KEPT[image_format].intersection(info)
    if image_format != "JPEG":
        return kept
    return {
        key
        for key in kept
        if key in ("icc_profile", "dpi") or len(info[key]) <= _JPEG_SEGMENT
    }


def _upright_exif(image: Image.Image) -> bytes:
    """Returns the EXIF data for upright pixels; b"" if there is none.

    Pillow leaves out the thumbnail, which would show the rain. The image itself keeps its
    orientation, since its pixels are turned later.
    """
    upright = Image.Exif()
    upright.load(image.getexif().tobytes())
    for tag in _TIFF_LAYOUT_TAGS.intersection(upright):
        del upright[tag]
    if image.format == "TIFF":  # `_iptc` reads them
        for tag in (tiff.IPTC_NAA_CHUNK, tiff.PHOTOSHOP_CHUNK):
            upright.pop(tag, None)
    if ExifTags.Base.Orientation in upright:
        upright[ExifTags.Base.Orientation] = 1
    details = upright.get_ifd(ExifTags.IFD.Exif)
    width, height = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
    if is_on_its_side(image) and width in details and height in details:
        details[width], details[height] = details[height], details[width]
    return upright.tobytes() if upright else b""


_MOST_DPI = 65535  # of JFIF; a larger value is no resolution, and other formats fail


def _upright_dpi(image: Image.Image) -> tuple[float, ...]:
    dpi = tuple(float(value) for value in image.info.get("dpi", ()))
    if not all(0 < value <= _MOST_DPI for value in dpi):
        return ()
    return dpi[::-1] if is_on_its_side(image) else dpi


def _upright_xmp(image: Image.Image) -> bytes:
    tags = getattr(image, "tag_v2", {})
    xmp = tags.get(tiff.XMP) or image.info.get("xmp") or b""
    xmp = xmp or image.info.get("XML:com.adobe.xmp", "").encode()
    return _XMP_GAIN_MAP.sub(b"", _XMP_ORIENTATION.sub(rb"\g<1>1", bytes(xmp)))


def _iptc(image: Image.Image) -> bytes:
    """Returns the image resources in APP13 segments of a JPEG, or in tags of a TIFF."""
    if isinstance(image, tiff.TiffImageFile):
        return _tiff_iptc(image)
    return b"".join(
        segment.removeprefix(_PHOTOSHOP)
        for name, segment in getattr(image, "applist", ())
        if name == "APP13" and segment.startswith(_PHOTOSHOP)
    )


def _tiff_iptc(image: tiff.TiffImageFile) -> bytes:
    """Returns Photoshop's image resources, with the data of the TIFF's IPTC tag."""
    # Many programs store IPTC data as integers. Pillow reads only the first one, but keeps
    # the bytes.
    tags = image.tag.tagdata
    resources = tags.get(tiff.PHOTOSHOP_CHUNK, b"")
    iptc = tags.get(tiff.IPTC_NAA_CHUNK, b"")
    if not iptc or _IPTC_RESOURCE in resources:
        return resources
    size = struct.pack(">I", len(iptc))
    padding = b"\0" * (len(iptc) % 2)
    return resources + _IPTC_RESOURCE + b"\0\0" + size + iptc + padding


def _dropped(image: Image.Image, data: bytes) -> list[str]:
    has_gain_map = any(mark in data for mark in _GAIN_MAPS)
    names = ["HDR gain map"] if has_gain_map else []
    if image.mode in _CONVERTED:
        names.append(_CONVERTED[image.mode])
    of_heic = image.info.get("bit_depth", 8)
    if (num_bits := max(of_heic, _avif_bits(image, data), _jp2_bits(image, data))) > 8:
        names.append(f"{num_bits} bits (now 8)")
    return names


def _avif_bits(image: Image.Image, data: bytes) -> int:
    """Returns the bits per channel of an AVIF, 8 for others; Pillow decodes them to 8.

    Source: AV1 Codec ISO Media File Format Binding 1.2.0, section 2.3.3: the third byte of
    the box `av1C` holds seq_tier_0, high_bitdepth, twelve_bit and other flags.
    """
    box = data.find(b"av1C")
    if image.format != "AVIF" or not 0 <= box < len(data) - 6:
        return 8
    high, twelve = data[box + 6] & 0x40, data[box + 6] & 0x20
    return 12 if high and twelve else 10 if high else 8


def _jp2_bits(image: Image.Image, data: bytes) -> int:
    """Returns the bits of the deepest channel of a JPEG 2000 that Pillow decodes to 8.

    Pillow keeps 16 bits of grey; the result for these and for other formats is 8.

    Source: ISO/IEC 15444-1, A.5.1: the marker SIZ follows SOC, the beginning of the
    codestream. Bytes 38 and 39 from SIZ hold the number of channels. Three bytes for each
    channel follow, of which the first has a sign bit and the depth minus 1.
    """
    start = data.find(b"\xff\x4f\xff\x51") + 2
    if image.format != "JPEG2000" or image.mode == "I;16" or start < 2:
        return 8
    (num_channels,) = struct.unpack_from(">H", data, start + 38)
    channels = data[start + 40 : start + 40 + 3 * num_channels : 3]
    return 1 + max(depth & 0x7F for depth in channels)


def _jpeg_options(image: Image.Image) -> dict[str, Any]:
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return {}
    options: dict[str, Any] = {"qtables": image.quantization}
    if (sampling := JpegImagePlugin.get_sampling(image)) >= 0:
        options["subsampling"] = sampling
    if image.info.get("progressive"):
        options["progressive"] = True
    return options


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the colour and text chunks, except those with EXIF data or XMP."""
    return [
        (name, content)
        for name, content in _all_png_chunks(data)
        if name in _PNG_COLOUR
        or (name in _PNG_TEXT and content.partition(b"\0")[0] not in _PNG_OWN_TEXT)
    ]


def _all_png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        yield name, data[place + 8 : place + 8 + length]
        place += length + 12
