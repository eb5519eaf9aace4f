"""Damaged and hostile files, reproducible from a seed."""

import io
import random
import struct
import zlib

import numpy as np
import tifffile
from PIL import ExifTags, Image

from tests.pictures import noise

HUGE = 60_000  # pixels; squared, twenty times what is decoded


def damage(data: bytes, seed: int) -> bytes:
    """The bytes with one to three kinds of damage."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 3)):
        data = rng.choice(_DAMAGES)(bytearray(data or b"\0"), rng)
    return data


def flip_bit(data: bytes, seed: int) -> bytes:
    rng = random.Random(seed)
    data = bytearray(data or b"\0")
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _truncate(data, rng):
    return bytes(data[: rng.randrange(len(data))])


def _flip_bits(data, rng):
    for _ in range(rng.choice([1, 2, 8, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _flip_early_bits(data, rng):
    """Flips bits of the header."""
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(min(len(data), 64))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _swap_ranges(data, rng):
    first, second, third = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return bytes(data[:first] + data[second:third] + data[first:second] + data[third:])


def _zero_range(data, rng):
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([4, 100, 10_000]))
    data[start:end] = bytes(end - start)
    return bytes(data)


def _set_number(data, rng):
    """Overwrites bytes with an invalid size, offset or count."""
    number = rng.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    start = rng.randrange(min(len(data), 256))
    data[start : start + 4] = struct.pack(rng.choice("<>") + "I", number)
    return bytes(data)


def _repeat_range(data, rng):
    start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return bytes(data[:end] + data[start:end] * rng.randint(1, 20) + data[end:])


_DAMAGES = (
    _truncate, _flip_bits, _flip_early_bits, _swap_ranges, _zero_range, _set_number,
    _repeat_range,
)  # fmt: skip


def images() -> dict[str, bytes]:
    """Valid image files of every format and kind, by name."""
    colour, grey = Image.fromarray(noise(24, 33, 3)), Image.fromarray(noise(24, 33))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Rainmaker"
    info = {"exif": exif.tobytes(), "icc_profile": bytes(range(256)), "dpi": (72, 72)}
    return {
        "colour.png": _encode(colour, "PNG", **info),
        "interlaced.png": _encode(colour.quantize(16), "PNG", transparency=3),
        "animated.png": _encode(colour, "PNG", save_all=True),
        "deep.png": _encode(Image.fromarray(noise(24, 33, dtype=np.uint16)), "PNG"),
        "colour.jpg": _encode(colour, "JPEG", **info),
        "progressive.jpg": _encode(colour, "JPEG", progressive=True),
        "inks.jpg": _encode(colour.convert("CMYK"), "JPEG"),
        "pictures.jpg": _encode(colour, "MPO", save_all=True),
        "lossless.webp": _encode(colour, "WEBP", lossless=True, exif=info["exif"]),
        "lossy.webp": _encode(colour.convert("RGBA"), "WEBP"),
        "animated.webp": _encode(colour, "WEBP", save_all=True),
        "deflated.tif": _encode(colour, "TIFF", compression="tiff_adobe_deflate", **info),
        "jpeg.tif": _encode(colour, "TIFF", compression="jpeg"),
        "lzw.tif": _encode(grey, "TIFF", compression="tiff_lzw"),
        "fax.tif": _encode(grey.convert("1"), "TIFF", compression="group4"),
        "deep.tif": _deep_tiff(),
        "pages.tif": _encode(colour, "TIFF", save_all=True),
        "colour.bmp": _encode(colour, "BMP"),
        "colour.gif": _encode(colour, "GIF"),
        "animated.gif": _encode(colour, "GIF", save_all=True),
    }  # fmt: skip


def _encode(image, image_format, **options):
    stream = io.BytesIO()
    if options.get("save_all"):  # copies, as JPEG leaves its settings in images
        options["append_images"] = [image.rotate(180)]
    image.copy().save(stream, image_format, **options)
    return stream.getvalue()


def _deep_tiff():
    stream = io.BytesIO()
    array = noise(24, 33, 3, dtype=np.uint16)
    tifffile.imwrite(
        stream, array, photometric="rgb", tile=(16, 16), compression="zlib"
    )
    return stream.getvalue()


def png(width, height, pixels: bytes, *chunks, bit_depth=8, colour_type=2) -> bytes:
    """A PNG with the given deflated rows, valid or not."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data
        + struct.pack(">I", zlib.crc32(name + data))
        for name, data in body
    )  # fmt: skip


def bombs() -> dict[str, bytes]:
    """Small files that claim or decompress to huge sizes, by name."""
    zeros = zlib.compress(bytes(50_000_000), 9)  # a thousandth of that
    bits = zlib.compress(bytes(14_000 * (1 + 12_000 // 8)), 9)
    rows = zlib.compress(bytes(24 * (1 + 33 * 3)))
    claims = {f"{name}": data for name, data in _with_huge_sizes().items()}
    return claims | {
        "raster.png": png(HUGE, HUGE, zeros),
        # Whole, and within Pillow's limit.
        "black.png": png(12_000, 14_000, bits, bit_depth=1, colour_type=0),
        "tall.png": png(1, 2**31 - 1, zeros),
        "profile.png": png(33, 24, rows, (b"iCCP", b"profile\0\0" + zeros)),
        "text.png": png(33, 24, rows, *[(b"zTXt", b"text\0\0" + zeros)] * 3),
        "notes.png": png(33, 24, rows, (b"iTXt", b"text\0\1\0\0\0" + zeros)),
    }


def _with_huge_sizes() -> dict[str, bytes]:
    """Valid files with huge sizes put into their headers."""
    sound = images()
    jpeg, gif, bmp = (sound[f"colour.{suffix}"] for suffix in ("jpg", "gif", "bmp"))
    frame = jpeg.index(b"\xff\xc0") + 5  # SOF0: marker, length, depth, height, width
    tiled = sound["deep.tif"]
    width = tiled.index(struct.pack("<H", 322))  # tag, type, count, value
    webp = sound["lossless.webp"]
    canvas = webp.index(b"VP8X") + 12  # size, flags; then width and height less one
    bits = webp.index(b"VP8L") + 9
    return {
        "claims.jpg": jpeg[:frame] + struct.pack(">HH", HUGE, HUGE) + jpeg[frame + 4 :],
        "claims.gif": gif[:6] + struct.pack("<HH", HUGE, HUGE) + gif[10:],
        "claims.bmp": bmp[:18] + struct.pack("<ii", HUGE, HUGE) + bmp[26:],
        "claims.webp": webp[:canvas] + b"\xff\xff\0" * 2 + webp[canvas + 6 :],
        "claims_more.webp": webp[:bits] + b"\xff\xff\xff\x0f" + webp[bits + 4 :],
        "claims.tif": _tiff({256: HUGE, 257: HUGE}),
        "claims_tile.tif": tiled[:width]
        + struct.pack("<HHII", 322, 4, 1, 2**24 - 256)
        + tiled[width + 12 :],
        "claims_strip.tif": _tiff({259: 8, 278: 2**31 - 1, 279: 2**31 - 1}),
        "claims_samples.tif": _tiff({277: 60_000}),
        "claims_strips.tif": _tiff({278: 1, 257: 100_000_000}),
        "claims_within_limit.tif": _tiff({256: 12_000, 257: 14_000}),
    }


def _tiff(changes: dict[int, int]) -> bytes:
    """A grey TIFF of 33 x 24 pixels with some tags replaced."""
    tags = {256: 33, 257: 24, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 24}
    tags[279] = 33 * 24
    entries = sorted((tags | changes).items())
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, n) for tag, n in entries)
    file = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4)
    return file.ljust(200, b"\0") + noise(24, 33).tobytes()
