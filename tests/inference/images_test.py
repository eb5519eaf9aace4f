"""Files in and out: every format, depth and mode, metadata, damage, atomic writes."""

import pathlib
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageCms, ImageOps

from ttl_jax.inference import images

FORMATS = [
    ("png", np.uint8),
    ("png", np.uint16),
    ("tif", np.uint8),
    ("tif", np.uint16),
    ("jpg", np.uint8),
    ("webp", np.uint8),
]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(*shape, dtype=np.uint8):
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


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


def png_file(array, bit_depth, colour_type, *chunks):
    """A PNG written from its specification: unfiltered rows, bytes as given."""

    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    height, width = array.shape[:2]
    rows = b"".join(
        b"\0" + row.tobytes() for row in array.astype(f">u{bit_depth // 8}")
    )
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in body)


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
    ("tiff", np.uint16, (17, 23, 3)),
    ("tiff", np.uint16, (17, 23, 4)),
    ("webp", np.uint8, (17, 23, 3)),
    ("webp", np.uint8, (17, 23, 4)),
]


@pytest.mark.parametrize("suffix, dtype, shape", LOSSLESS)
def test_a_lossless_format_returns_every_bit(tmp_path, suffix, dtype, shape):
    array = noise(*shape, dtype=dtype)
    if suffix == "webp" and shape[-1] == 4:
        array[..., 3] |= 1  # WebP is free to forget the colour of what is invisible
    path = tmp_path / f"image.{suffix}"
    images.write_image(path, array)
    result, info = images.read_image(path)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, array)
    assert set(info) <= {"dpi"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("num_channels", [1, 2, 3, 4])
def test_tifffile_reads_the_tiff(tmp_path, num_channels, dtype):
    array = np.squeeze(noise(17, 23, num_channels, dtype=dtype))
    info = {"exif": exif_bytes(), "icc_profile": bytes(range(256)) * 400}
    images.write_image(tmp_path / "image.tif", array, info)
    with tifffile.TiffFile(tmp_path / "image.tif") as file:
        tags = file.pages[0].tags
        np.testing.assert_array_equal(file.asarray(), array)
        assert tags["Make"].value == "Rainmaker"
        assert tags["InterColorProfile"].value == info["icc_profile"]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("num_channels", [1, 3, 4])
def test_16_bit_tiff_of_tifffile_is_read(
    tmp_path, compression, byte_order, tile, num_channels
):
    array = noise(37, 23, num_channels, dtype=np.uint16)
    if num_channels == 1:
        array = array[..., 0]
    tifffile.imwrite(
        tmp_path / "image.tif",
        array,
        photometric="minisblack" if num_channels == 1 else "rgb",
        extrasamples=["unassalpha"] if num_channels == 4 else None,
        compression=compression,
        byteorder=byte_order,
        tile=tile,
    )
    result, _ = images.read_image(tmp_path / "image.tif")
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("colour_type, num_channels", [(0, 1), (4, 2), (2, 3), (6, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_of_the_specification_is_read(tmp_path, dtype, colour_type, num_channels):
    array = noise(17, 23, num_channels, dtype=dtype)
    file = png_file(array, 8 * array.itemsize, colour_type)
    (tmp_path / "image.png").write_bytes(file)
    result, _ = images.read_image(tmp_path / "image.png")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.squeeze(array))


def test_jpeg_keeps_colour_at_full_resolution(tmp_path):
    array = np.full((64, 64, 3), 40, np.uint8)
    array[:, ::2, 0] = 220  # red changes from column to column
    images.write_image(tmp_path / "image.jpg", array)
    result, _ = images.read_image(tmp_path / "image.jpg")
    assert np.abs(result.astype(int) - array).mean() < 2
    with Image.open(tmp_path / "image.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_grey_jpeg_stays_grey(tmp_path):
    array = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (16, 1))
    images.write_image(tmp_path / "image.jpeg", array)
    result, _ = images.read_image(tmp_path / "image.jpeg")
    assert result.shape == array.shape
    assert np.abs(result.astype(int) - array).max() <= 3


def test_one_channel_is_written_as_grey(tmp_path):
    images.write_image(tmp_path / "image.png", noise(5, 7, 1))
    np.testing.assert_array_equal(
        images.read_image(tmp_path / "image.png").array, noise(5, 7, 1)[..., 0]
    )


# Modes


def test_palette_becomes_rgb(tmp_path):
    image = Image.fromarray(noise(17, 23, 3)).quantize(32)
    image.save(tmp_path / "image.png")
    result, _ = images.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result, np.asarray(image.convert("RGB")))


def test_transparent_palette_becomes_rgb_and_alpha(tmp_path):
    image = Image.fromarray(noise(17, 23, 3)).quantize(32)
    image.save(tmp_path / "image.png", transparency=5)
    result, _ = images.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result[..., 3] == 0, np.asarray(image) == 5)
    np.testing.assert_array_equal(result[..., :3], np.asarray(image.convert("RGB")))


def test_transparent_grey_level_becomes_alpha(tmp_path):
    array = noise(17, 23)
    Image.fromarray(array).save(tmp_path / "image.png", transparency=int(array[3, 4]))
    result, _ = images.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result[..., 0], array)
    np.testing.assert_array_equal(result[..., 1] == 0, array == array[3, 4])


def test_black_and_white_becomes_grey(tmp_path):
    bits = noise(17, 23) > 127
    Image.fromarray(bits).save(tmp_path / "image.png")
    result, _ = images.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result, np.where(bits, 255, 0))


def test_cmyk_becomes_rgb_without_its_profile_of_inks(tmp_path):
    image = Image.new("CMYK", (23, 17), (0, 255, 255, 0))  # magenta and yellow: red
    image.save(tmp_path / "image.jpg", quality=100, icc_profile=b"inks")
    result, info = images.read_image(tmp_path / "image.jpg")
    assert result.shape == (17, 23, 3)
    assert np.abs(result.astype(int) - [255, 0, 0]).max() <= 3
    assert "icc_profile" not in info


def test_multi_picture_jpeg_of_a_camera_is_its_first_picture(tmp_path):
    first, second = Image.new("RGB", (23, 17), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / "image.jpg", "MPO", save_all=True, append_images=[second])
    result, _ = images.read_image(tmp_path / "image.jpg")
    assert result.shape == (17, 23, 3)
    assert result[..., 0].min() > 200


@pytest.mark.parametrize(
    "array, expected",
    [
        (np.array([[0, 7], [128, 255]], np.uint8), [[0, 7], [128, 255]]),
        # n / 257 rounded: 128 / 257 is below one half, 129 / 257 above.
        (np.array([[0, 128], [129, 65535]], np.uint16), [[0, 0], [1, 255]]),
    ],
)
def test_as_rgb8_repeats_grey_and_rounds_16_bits(array, expected):
    expected = np.repeat(np.array(expected, np.uint8)[..., np.newaxis], 3, axis=-1)
    with_alpha = np.stack([array, np.zeros_like(array)], axis=-1)
    for grey in (array, array[..., np.newaxis], with_alpha):
        result = images.as_rgb8(grey)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected)


def test_as_rgb8_leaves_rgb_and_drops_alpha():
    array = noise(5, 7, 4)
    np.testing.assert_array_equal(images.as_rgb8(array), array[..., :3])
    np.testing.assert_array_equal(images.as_rgb8(array[..., :3]), array[..., :3])


# Metadata


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "suffix, dtype",
    [("png", np.uint8), ("png", np.uint16), ("tif", np.uint8), ("tif", np.uint16)],
)
def test_orientation_is_applied_to_the_pixels_and_reset(
    tmp_path, suffix, dtype, orientation
):
    array = noise(17, 23, 3, dtype=dtype)
    path = tmp_path / f"image.{suffix}"
    images.write_image(path, array, {"exif": exif_bytes(orientation)})
    # Pillow cannot turn 16-bit colour; it can turn the indices of the pixels.
    indices = Image.fromarray(np.arange(17 * 23, dtype=np.int32).reshape(17, 23))
    indices.getexif()[ExifTags.Base.Orientation] = orientation
    turned = np.asarray(ImageOps.exif_transpose(indices))

    result, info = images.read_image(path)
    np.testing.assert_array_equal(result, array.reshape(-1, 3)[turned])
    assert images.read_size(path) == turned.shape
    images.write_image(path, result, info)
    np.testing.assert_array_equal(images.read_image(path).array, result)


@pytest.mark.parametrize("suffix, dtype", FORMATS)
def test_metadata_survive_reading_and_writing(tmp_path, suffix, dtype):
    first, second = tmp_path / f"first.{suffix}", tmp_path / f"second.{suffix}"
    info = {"exif": exif_bytes(6), "icc_profile": SRGB, "dpi": (300, 150)}
    images.write_image(first, noise(17, 23, 3, dtype=dtype), info)
    images.write_image(second, *images.read_image(first))

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


def test_a_tiff_becomes_a_png_without_its_layout_tags(tmp_path):
    array = noise(17, 23, 3)
    images.write_image(tmp_path / "image.tif", array, {"exif": exif_bytes()})
    images.write_image(
        tmp_path / "image.png", *images.read_image(tmp_path / "image.tif")
    )
    result, info = images.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result, array)
    exif = Image.Exif()
    exif.load(info["exif"])
    assert exif[ExifTags.Base.Make] == "Rainmaker"
    assert ExifTags.Base.ImageWidth not in exif
    assert ExifTags.Base.StripOffsets not in exif


def test_damaged_exif_data_do_not_cost_the_photograph(tmp_path):
    damaged = b"Exif\0\0" + b"no TIFF header at all"
    Image.fromarray(noise(17, 23, 3)).save(tmp_path / "image.png", exif=damaged)
    result, info = images.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result, noise(17, 23, 3))
    assert "exif" not in info


# Refusals


def refusal(path):
    with pytest.raises(ValueError) as caught:
        images.read_image(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "image.png").touch()
    assert "empty" in refusal(tmp_path / "image.png")


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "image.jpg").write_text("<html>404 Not Found</html>")
    assert "no PNG, JPEG, WebP or TIFF" in refusal(tmp_path / "image.jpg")


@pytest.mark.parametrize("suffix, dtype", FORMATS)
def test_a_truncated_file_is_refused_or_complete(tmp_path, suffix, dtype):
    path = tmp_path / f"image.{suffix}"
    images.write_image(path, noise(20, 30, 3, dtype=dtype))
    data, complete = path.read_bytes(), images.read_image(path).array
    for kept in range(0, len(data), 7):
        path.write_bytes(data[:kept])
        if suffix == "png" and len(data) - kept <= 20:
            # Only checksums and the end mark are missing.
            np.testing.assert_array_equal(images.read_image(path).array, complete)
        else:
            refusal(path)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_several_images_in_one_file_are_refused(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    frames = [Image.fromarray(noise(17, 23, 3)), Image.new("RGB", (23, 17), "red")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert "2 images" in refusal(path)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((17, 23), np.float32),
        np.zeros((17, 23), np.int32),
    ],
)
def test_other_depths_are_refused(tmp_path, array):
    Image.fromarray(array).save(tmp_path / "image.tif")
    assert "neither of 8 nor of 16 bits" in refusal(tmp_path / "image.tif")


def test_16_bit_planes_are_refused_rather_than_misread(tmp_path):
    tifffile.imwrite(
        tmp_path / "image.tif",
        noise(3, 17, 23, dtype=np.uint16),
        photometric="rgb",
        planarconfig="separate",
        compression="zlib",
    )
    assert "plane" in refusal(tmp_path / "image.tif")


@pytest.mark.parametrize("colour_type, num_channels", [(0, 1), (2, 3)])
def test_a_transparent_16_bit_colour_is_refused(tmp_path, colour_type, num_channels):
    array = noise(17, 23, num_channels, dtype=np.uint16)
    key = (b"tRNS", b"\1\2" * num_channels)
    (tmp_path / "image.png").write_bytes(png_file(array, 16, colour_type, key))
    assert "transparent" in refusal(tmp_path / "image.png")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        images.read_image(tmp_path / "image.png")


@pytest.mark.parametrize(
    "name, array, message",
    [
        ("image.gif", noise(5, 7, 3), r"unknown suffix '\.gif'"),
        ("image.jpg", noise(5, 7, 4), "no alpha"),
        ("image.jpg", noise(5, 7, 3, dtype=np.uint16), "8 bits"),
        ("image.webp", noise(5, 7, 3, dtype=np.uint16), "8 bits"),
        ("image.png", noise(5, 7, 5), r"\(5, 7, 5\)"),
        ("image.png", np.zeros((5, 7, 3), np.float32), "float32"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path, name, array, message):
    with pytest.raises(ValueError, match=message):
        images.write_image(tmp_path / name, array)
    assert not list(tmp_path.iterdir())


# Atomic writes


@pytest.mark.parametrize("before", [None, b"the earlier file"])
def test_a_failing_encoder_leaves_no_trace(tmp_path, monkeypatch, before):
    path = tmp_path / "image.png"
    if before:
        path.write_bytes(before)

    def save(self, stream, *args, **kwargs):
        stream.write(b"half of a file")
        raise OSError("the disk is full")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="disk is full"):
        images.write_image(path, noise(5, 7, 3))
    assert list(tmp_path.iterdir()) == ([path] if before else [])
    if before:
        assert path.read_bytes() == before


def test_the_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "file.txt"
    with images.atomic_file(path) as stream:
        stream.write(b"content")
        assert not path.exists()
        assert all(other.parent == tmp_path for other in tmp_path.iterdir())
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    images.write_image(tmp_path / "image.png", noise(5, 7, 3))
    modes = {pathlib.Path(path).stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1
