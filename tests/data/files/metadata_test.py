"""The metadata that each format keeps."""

import pathlib
import struct

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin, PngImagePlugin

from tests.pictures import noise
from ttl_jax.data.files import decoding, encoding, metadata

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description dc:title="Rain"/></x:xmpmeta>'
# Photoshop's resource 1028, IPTC, with one entry: 2:120, the caption.
CAPTION = b"\x1c\x02\x78" + struct.pack(">H", 4) + b"Rain"
IPTC = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(CAPTION)) + CAPTION + b"\0"
EXIF = Image.Exif()
EXIF[ExifTags.Base.Make] = "Rainmaker"
ALL = {
    "exif": EXIF.tobytes(),
    "icc_profile": SRGB,
    "xmp": XMP,
    "iptc": IPTC,
    "comment": b"wet",
    "dpi": (300, 150),
}


def find(path):
    """Returns the metadata that Pillow finds in a file, by column of the table."""
    with Image.open(path) as image:
        image.load()
        exif, text = image.getexif(), getattr(image, "text", {})
        tags = getattr(image, "tag_v2", {})
        xmp = image.info.get("xmp") or text.get("XML:com.adobe.xmp", "").encode()
        iptc = IptcImagePlugin.getiptcinfo(image) or {}
        caption = iptc.get((2, 120)) or (
            b"Rain" if CAPTION in tags.get(34377, b"") else b""
        )
        dpi = [float(value) for value in image.info.get("dpi", (0, 0))]
        return {
            "EXIF": exif.get(ExifTags.Base.Make) == "Rainmaker",
            "profile": image.info.get("icc_profile") == SRGB,
            "XMP": b'dc:title="Rain"' in (xmp or tags.get(700, b"")),
            "IPTC": caption == b"Rain",
            "comment": b"wet" in (image.info.get("comment", b""), text.get("Comment", "").encode()),
            "resolution": np.allclose(dpi, (300, 150), atol=0.1),
        }  # fmt: skip


def table():
    """Returns the table of the documentation: what is kept, by suffix, depth and column."""
    document = pathlib.Path(encoding.__file__).parents[1] / "README.md"
    lines = document.read_text().split("Metadata kept")[1].split("\n\n")[1].splitlines()
    names, _, *rows = (
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines
    )
    return {
        row[0]: {name: cell == "yes" for name, cell in zip(names[1:], row[1:])}
        for row in rows
    }


SUFFIXES = {
    "JPEG": ("jpg", np.uint8), "PNG": ("png", np.uint8), "PNG, 16 bits": ("png", np.uint16),
    "TIFF": ("tif", np.uint16), "WebP": ("webp", np.uint8), "AVIF": ("avif", np.uint8),
    "BMP": ("bmp", np.uint8), "JPEG 2000": ("jp2", np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("title", SUFFIXES)
def test_formats_keep_what_the_documented_table_says_and_report_the_rest(
    tmp_path, title
):
    suffix, dtype = SUFFIXES[title]
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    encoding.write_image(first, noise(8, 9, 3, dtype=dtype), ALL)
    encoding.write_image(second, *decoding.read_image(first))
    expected = table()[title]
    assert find(first) == find(second) == expected
    kinds = {"profile": "colour profile"}
    lost = {kinds.get(name, name) for name, is_kept in expected.items() if not is_kept}
    assert set(metadata.find_lost(encoding.format_of(first), ALL)) == lost


# Photoshop's tag, and that of IPTC: as bytes, undefined, and integers.
@pytest.mark.parametrize(
    ("tag", "kind"), [(34377, 1), (33723, 1), (33723, 7), (33723, 4)]
)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_the_iptc_data_of_a_tiff_are_kept_or_reported(tmp_path, tag, kind, byte_order):
    content = IPTC if tag == 34377 else CAPTION + b"\0" * (-len(CAPTION) % 4)
    size = len(content) // 4 if kind == 4 else len(content)
    value = np.frombuffer(content, f"{byte_order}u4").tolist() if kind == 4 else content
    pixels, extra = noise(8, 9, 3), [(tag, kind, size, value, True)]
    options = {"photometric": "rgb", "byteorder": byte_order, "extratags": extra}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    array, info = decoding.read_image(tmp_path / "a.tif")
    assert "exif" not in info or not {33723, 34377} & set(load_exif(info["exif"]))
    for suffix in ("jpg", "tif"):
        encoding.write_image(tmp_path / f"b.{suffix}", array, info)
        assert find(tmp_path / f"b.{suffix}")["IPTC"]
    assert metadata.find_lost("PNG", info) == ["IPTC"]


def load_exif(data):
    exif = Image.Exif()
    exif.load(data)
    return exif


def test_the_orientation_of_xmp_is_applied_once(tmp_path):
    path = tmp_path / "image.jpg"
    turned = XMP.replace(b"dc:title", b'tiff:Orientation="6" dc:title')
    Image.fromarray(noise(8, 9, 3)).save(path, xmp=turned)  # and no EXIF data
    array, info = decoding.read_image(path)
    assert array.shape == (9, 8, 3)
    assert b'tiff:Orientation="1"' in info["xmp"]
    encoding.write_image(path, array, info)
    assert decoding.read_image(path).array.shape == (9, 8, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_png_keeps_its_colour_and_text_chunks(tmp_path, dtype):
    path = tmp_path / "image.png"
    wide = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    chunks = [
        (b"cICP", b"\x0c\x0d\0\1"),  # Display P3
        (b"gAMA", struct.pack(">I", 55556)),
        (b"cHRM", wide),
        (b"tEXt", b"Author\0somebody"),
    ]
    extra = PngImagePlugin.PngInfo()
    for chunk in chunks:
        extra.add(*chunk)
    Image.fromarray(noise(8, 9, 3)).save(path, pnginfo=extra)
    _, info = decoding.read_image(path)
    encoding.write_image(path, noise(8, 9, 3, dtype=dtype), info)
    content = path.read_bytes()
    for name, data in chunks:
        assert struct.pack(">I", len(data)) + name + data in content
        assert content.index(name) < content.index(b"IDAT")
    assert metadata.find_lost("JPEG", info) == ["PNG text", "colour space"]


def test_srgb_chunks_of_a_png_are_not_reported_as_lost(tmp_path):
    info = {
        "png_chunks": [
            (b"sRGB", b"\0"),
            (b"gAMA", struct.pack(">I", 45455)),
        ]
    }
    assert metadata.find_lost("JPEG", info) == []
    # A PNG has a profile or says that it is sRGB, never both (PNG specification, 11.3.2.3).
    encoding.write_image(
        tmp_path / "a.png", noise(8, 9, 3), info | {"icc_profile": SRGB}
    )
    assert b"sRGB\0" not in (tmp_path / "a.png").read_bytes().replace(SRGB, b"")


def test_a_gain_map_is_dropped_together_with_its_metadata(tmp_path):
    path = tmp_path / "image.jpg"
    xmp = b'<rdf:Description hdrgm:Version="1.0" dc:title="Rain"/>'
    Image.fromarray(noise(8, 9, 3)).save(path, xmp=xmp)
    _, info = decoding.read_image(path)
    assert info["xmp"] == b'<rdf:Description dc:title="Rain"/>'
    assert metadata.find_lost("JPEG", info) == ["HDR gain map"]


@pytest.mark.parametrize(
    ("name", "mode", "lost"),
    [
        ("a.jpg", "CMYK", "CMYK (now RGB)"),
        ("a.tif", "LAB", "CIELAB (now RGB)"),
        ("a.png", "P", "palette (now RGB)"),
        ("a.png", "1", "1 bit per pixel (now 8)"),
        ("a.png", "L", None),
        ("a.webp", "RGB", None),
    ],
)
def test_pixels_that_become_rgb_or_grey_are_reported(tmp_path, name, mode, lost):
    with Image.new("RGB", (9, 8), "red") as image:
        if mode == "LAB":
            image = Image.merge(mode, image.split())
        image.convert(mode).save(tmp_path / name)
    _, info = decoding.read_image(tmp_path / name)
    assert metadata.find_lost("TIFF", info) == ([lost] if lost else [])


def test_the_depth_of_a_heic_is_reported(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pixels = noise(64, 64, 3, dtype=np.uint16)
    image = pillow_heif.from_bytes("RGB;16", (64, 64), pixels.tobytes())
    image.save(tmp_path / "a.heic")
    _, info = decoding.read_image(tmp_path / "a.heic")
    assert metadata.find_lost("PNG", info) == ["10 bits (now 8)"]


@pytest.mark.parametrize(("flags", "lost"), [(0, 8), (0x40, 10), (0x60, 12)])
def test_the_depth_of_an_avif_is_reported(tmp_path, flags, lost):
    """Pillow writes 8 bits; the flags of the box av1C are set by hand."""
    path = tmp_path / "image.avif"
    Image.fromarray(noise(64, 64, 3)).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"av1C") + 6] |= flags
    with Image.open(path) as image:
        names = metadata._dropped(image, bytes(data))
    assert names == ([f"{lost} bits (now 8)"] if lost > 8 else [])


@pytest.mark.parametrize(
    ("dtype", "lost"), [(np.uint8, None), (np.uint16, "16 bits (now 8)")]
)
def test_the_depth_of_colour_in_a_jpeg_2000_is_reported(tmp_path, dtype, lost):
    path = tmp_path / "image.jp2"
    array = noise(64, 64, 3, dtype=dtype)
    cv2.imwrite(str(path), array)
    read, info = decoding.read_image(path)
    assert read.dtype == np.uint8
    assert metadata.find_lost("PNG", info) == ([lost] if lost else [])


@pytest.mark.parametrize("key", ["exif", "xmp", "iptc", "comment"])
def test_metadata_too_large_for_a_jpeg_are_reported_and_the_photograph_is_written(
    tmp_path, key
):
    info = {key: b"x" * 70_000}
    encoding.write_image(tmp_path / "image.jpg", noise(8, 9, 3), info)
    assert len(metadata.find_lost("JPEG", info)) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_a_resolution_that_cannot_be_is_left_out(tmp_path, suffix):
    exif = Image.Exif()
    for tag in (ExifTags.Base.XResolution, ExifTags.Base.YResolution):
        exif[tag] = 4294967295.0
    exif[ExifTags.Base.ResolutionUnit] = 2
    Image.new("RGB", (9, 8)).save(tmp_path / "in.jpg", exif=exif)
    _, info = decoding.read_image(tmp_path / "in.jpg")
    encoding.write_image(tmp_path / f"out{suffix}", noise(8, 9, 3), info)
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.size == (9, 8)
        assert image.info.get("jfif_density", (1, 1)) == (1, 1)
