"""Writing, and reading again: every format and depth, metadata, atomic writes."""

import resource

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin

from tests.pictures import noise
from ttl_jax.data.files import decoding, encoding

FORMATS = [
    ("png", np.uint8),
    ("png", np.uint16),
    ("tif", np.uint8),
    ("tif", np.uint16),
    ("jpg", np.uint8),
    ("webp", np.uint8),
]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_bytes(orientation=1):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Rainmaker"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.FNumber: 2.5,
        ExifTags.Base.ExifImageWidth: 23,
        ExifTags.Base.ExifImageHeight: 17,
    }
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif.tobytes()


# Round trips


LOSSLESS = [
    ("png", np.uint8, (17, 23)),
    ("png", np.uint8, (17, 23, 2)),
    ("png", np.uint8, (17, 23, 3)),
    ("png", np.uint8, (17, 23, 4)),
    ("png", np.uint16, (17, 23)),
    ("png", np.uint16, (17, 23, 2)),
    ("png", np.uint16, (17, 23, 3)),
    ("png", np.uint16, (17, 23, 4)),
    ("tif", np.uint8, (17, 23)),
    ("tif", np.uint8, (17, 23, 2)),
    ("tiff", np.uint8, (17, 23, 3)),
    ("tiff", np.uint8, (17, 23, 4)),
    ("TIF", np.uint16, (17, 23)),
    ("tif", np.uint16, (17, 23, 2)),
    ("tiff", np.uint16, (17, 23, 3)),
    ("tiff", np.uint16, (17, 23, 4)),
    ("webp", np.uint8, (17, 23, 3)),
    ("webp", np.uint8, (17, 23, 4)),
    ("bmp", np.uint8, (17, 23, 3)),
    ("jp2", np.uint8, (17, 23, 3)),
]


@pytest.mark.parametrize(("suffix", "dtype", "shape"), LOSSLESS)
def test_a_lossless_format_returns_every_bit(tmp_path, suffix, dtype, shape):
    array = noise(*shape, dtype=dtype)
    if suffix == "webp" and shape[-1] == 4:
        array[..., 3] |= 1  # WebP is free to forget the colour of what is invisible
    path = tmp_path / f"image.{suffix}"
    encoding.write_image(path, array)
    result, info = decoding.read_image(path)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, array)
    assert set(info) <= {"dpi"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("num_channels", [1, 2, 3, 4])
def test_tifffile_reads_the_tiff(tmp_path, num_channels, dtype):
    array = np.squeeze(noise(17, 23, num_channels, dtype=dtype))
    info = {"exif": exif_bytes(), "icc_profile": bytes(range(256)) * 400}
    encoding.write_image(tmp_path / "image.tif", array, info)
    with tifffile.TiffFile(tmp_path / "image.tif") as file:
        tags = file.pages[0].tags
        np.testing.assert_array_equal(file.asarray(), array)
        assert tags["Make"].value == "Rainmaker"
        assert tags["InterColorProfile"].value == info["icc_profile"]


def test_jpeg_keeps_colour_at_full_resolution(tmp_path):
    array = np.full((64, 64, 3), 40, np.uint8)
    array[:, ::2, 0] = 220  # red changes from column to column
    encoding.write_image(tmp_path / "image.jpg", array)
    result, _ = decoding.read_image(tmp_path / "image.jpg")
    assert np.abs(result.astype(int) - array).mean() < 2
    with Image.open(tmp_path / "image.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_one_channel_is_written_as_grey(tmp_path):
    encoding.write_image(tmp_path / "image.png", noise(5, 7, 1))
    np.testing.assert_array_equal(
        decoding.read_image(tmp_path / "image.png").array, noise(5, 7, 1)[..., 0]
    )


# Metadata


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("suffix", "dtype"), [pair for pair in FORMATS if pair[0] != "jpg"]
)
def test_orientation_is_applied_to_the_pixels_and_reset(
    tmp_path, suffix, dtype, orientation
):
    array = noise(17, 23, 3, dtype=dtype)
    path = tmp_path / f"image.{suffix}"
    encoding.write_image(path, array, {"exif": exif_bytes(orientation)})
    # Pillow cannot turn 16-bit colour; it can turn the indices of the pixels.
    indices = Image.fromarray(np.arange(17 * 23, dtype=np.int32).reshape(17, 23))
    indices.getexif()[ExifTags.Base.Orientation] = orientation
    turned = np.asarray(ImageOps.exif_transpose(indices))

    result, info = decoding.read_image(path)
    np.testing.assert_array_equal(result, array.reshape(-1, 3)[turned])
    encoding.write_image(path, result, info)
    np.testing.assert_array_equal(decoding.read_image(path).array, result)


@pytest.mark.parametrize(("suffix", "dtype"), FORMATS)
def test_metadata_survive_reading_and_writing(tmp_path, suffix, dtype):
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    info = {"exif": exif_bytes(6), "icc_profile": SRGB, "dpi": (300, 150)}
    encoding.write_image(first, noise(17, 23, 3, dtype=dtype), info)
    encoding.write_image(second, *decoding.read_image(first))

    with Image.open(second) as image:
        assert image.info["icc_profile"] == SRGB
        if suffix != "webp":  # which has no field for it
            np.testing.assert_allclose(
                [float(value) for value in image.info["dpi"]], [150, 300], atol=0.1
            )
        exif = image.getexif()
        assert exif[ExifTags.Base.Make] == "Rainmaker"
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        details = exif.get_ifd(ExifTags.IFD.Exif)
        assert float(details[ExifTags.Base.FNumber]) == 2.5
        # A quarter turn exchanges the sides, here too.
        assert details[ExifTags.Base.ExifImageWidth] == 17
        assert details[ExifTags.Base.ExifImageHeight] == 23
        location = exif.get_ifd(ExifTags.IFD.GPSInfo)
        assert location[ExifTags.GPS.GPSLatitudeRef] == "N"


@pytest.mark.parametrize(("suffix", "most"), [("webp", 16_383), ("jpg", 65_500)])
def test_a_side_that_the_format_cannot_hold_is_refused(tmp_path, suffix, most):
    path = tmp_path / f"image.{suffix}"
    encoding.write_image(path, np.zeros((most, 1), np.uint8))  # the codec takes it
    with pytest.raises(ValueError, match=f"at most {most:,} pixels a side; use PNG"):
        encoding.fit(path, np.zeros((1, most + 1), np.uint8))


def test_a_tiff_becomes_a_png_without_its_layout_tags(tmp_path):
    array = noise(17, 23, 3)
    encoding.write_image(tmp_path / "image.tif", array, {"exif": exif_bytes()})
    encoding.write_image(
        tmp_path / "image.png", *decoding.read_image(tmp_path / "image.tif")
    )
    result, info = decoding.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result, array)
    exif = Image.Exif()
    exif.load(info["exif"])
    assert exif[ExifTags.Base.Make] == "Rainmaker"
    assert ExifTags.Base.ImageWidth not in exif
    assert ExifTags.Base.StripOffsets not in exif


JPEG_SETTINGS = [
    {"quality": 60, "subsampling": "4:2:0"},
    {"quality": 92, "subsampling": "4:2:2", "progressive": True},
    {"quality": 88, "subsampling": "4:4:4"},
]


@pytest.mark.parametrize("settings", JPEG_SETTINGS)
def test_a_jpeg_keeps_tables_subsampling_and_progression(tmp_path, settings):
    first, second = tmp_path / "first.jpg", tmp_path / "second.jpg"
    Image.fromarray(noise(40, 60, 3)).save(first, **settings)
    encoding.write_image(second, *decoding.read_image(first))
    with Image.open(first) as before, Image.open(second) as after:
        assert after.quantization == before.quantization
        assert JpegImagePlugin.get_sampling(after) == JpegImagePlugin.get_sampling(
            before
        )
        assert after.info.get("progressive") == before.info.get("progressive")


def test_a_quality_replaces_the_tables_of_the_source(tmp_path):
    first, second = tmp_path / "first.jpg", tmp_path / "second.jpg"
    Image.fromarray(noise(40, 60, 3)).save(first, quality=60)
    encoding.write_image(second, *decoding.read_image(first), quality=90)
    Image.fromarray(noise(40, 60, 3)).save(first, quality=90)
    with Image.open(first) as expected, Image.open(second) as found:
        assert found.quantization == expected.quantization


@pytest.mark.parametrize("suffix", ["jpg", "webp", "avif"])
def test_a_lower_quality_makes_a_smaller_file(tmp_path, suffix):
    sizes = []
    for quality in (30, 90, None):
        path = tmp_path / f"{quality}.{suffix}"
        encoding.write_image(path, noise(64, 64, 3), quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes) and len(set(sizes)) == 3


# Refusals


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("image.gif", noise(5, 7, 3), r"unknown suffix '\.gif'"),
        ("image.jpg", noise(5, 7, 4), "no alpha"),
        ("image.bmp", noise(5, 7, 2), "no alpha"),
        ("image.jpg", noise(5, 7, 3, dtype=np.uint16), "8 bits"),
        ("image.webp", noise(5, 7, 3, dtype=np.uint16), "8 bits"),
        ("image.png", noise(5, 7, 5), r"\(5, 7, 5\)"),
        ("image.png", np.zeros((5, 7, 3), np.float32), "float32"),
    ],
)
def test_unsupported_pixels_are_rejected_by_format(tmp_path, name, array, message):
    with pytest.raises(ValueError, match=message):
        encoding.write_image(tmp_path / name, array)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "kept"), [((5, 7, 2), (5, 7)), ((5, 7, 4), (5, 7, 3))]
)
def test_an_opaque_alpha_is_dropped_in_formats_without_alpha(tmp_path, shape, kept):
    array = noise(*shape)
    array[..., -1] = 255
    encoding.write_image(tmp_path / "image.bmp", array)
    found = decoding.read_image(tmp_path / "image.bmp").array
    assert found.shape == kept
    np.testing.assert_array_equal(found.reshape(5, 7, -1), array[..., :-1])


def test_16_bits_become_8_on_request():
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    reduced = encoding.fit("image.jpg", levels, reduce=True)
    assert reduced.dtype == np.uint8
    np.testing.assert_array_equal(reduced, np.round(levels / 257).astype(np.uint8))
    assert encoding.fit("image.png", levels, reduce=True) is levels


# Atomic writes


@pytest.mark.parametrize("suffix", encoding.FORMATS)
def test_a_file_larger_than_the_disk_is_not_written(suffix, tmp_path):
    array = noise(60, 70, 3)
    encoding.write_image(tmp_path / f"whole{suffix}", array)
    size = (tmp_path / f"whole{suffix}").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for num_bytes in (size // 2, size - 10, size - 1):
        # The system then takes a part of what is written, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                encoding.write_image(tmp_path / f"cut{suffix}", array)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [path.name for path in tmp_path.iterdir()] == [f"whole{suffix}"]
