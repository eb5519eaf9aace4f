"""Decoding: every format, depth and mode, orientation, metadata, damage."""

import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from tests.pictures import noise, write
from ttl_jax.data.files import decoding

# The module ignores them too, but pytest's own filters come before.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def png_file(array, bit_depth, colour_type, *chunks, after=()):
    """Returns a PNG written according to its specification, with unfiltered rows.

    The chunks are before the pixels, and those of `after` behind them.
    """

    def chunk(name, data):
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    height, width = array.shape[:2]
    rows = b"".join(
        b"\0" + row.tobytes() for row in array.astype(f">u{bit_depth // 8}")
    )
    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    body = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), *after]
    body.append((b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in body)


# Formats and depths


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "jp2"])
def test_colour_comes_back_as_it_is(tmp_path, suffix):
    write(tmp_path / f"image.{suffix}", noise(17, 23, 3))
    result, _ = decoding.read_image(tmp_path / f"image.{suffix}")
    np.testing.assert_array_equal(result, noise(17, 23, 3))


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_photographs_of_phones_are_read_with_metadata(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Rainmaker"
    smooth = np.full((40, 60, 3), (200, 90, 30), np.uint8)
    Image.fromarray(smooth).save(path, quality=100, exif=exif.tobytes())
    array, info = decoding.read_image(path)
    assert array.shape == smooth.shape and np.abs(array.astype(int) - smooth).max() <= 3
    read = Image.Exif()
    read.load(info["exif"])
    assert read[ExifTags.Base.Make] == "Rainmaker"


@pytest.mark.parametrize("options", [{}, {"transparency": 192}])
def test_a_still_gif_is_read(tmp_path, options):
    array = noise(17, 23) // 64 * 64
    write(tmp_path / "image.gif", array, **options)
    result, _ = decoding.read_image(tmp_path / "image.gif")
    np.testing.assert_array_equal(result[..., :3], np.dstack([array] * 3))
    if options:
        np.testing.assert_array_equal(result[..., 3] == 0, array == 192)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("num_channels", [1, 2, 3, 4])
def test_16_bit_tiff_of_tifffile_is_read(
    tmp_path, compression, byte_order, tile, num_channels
):
    array = noise(37, 23, num_channels, dtype=np.uint16)
    if num_channels == 1:
        array = array[..., 0]
    tifffile.imwrite(
        tmp_path / "image.tif",
        array,
        photometric="minisblack" if num_channels < 3 else "rgb",
        planarconfig="contig",
        extrasamples=["unassalpha"] if num_channels in (2, 4) else None,
        compression=compression,
        byteorder=byte_order,
        tile=tile,
    )
    result, _ = decoding.read_image(tmp_path / "image.tif")
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_in_which_0_is_white_is_no_negative(tmp_path, dtype, compression):
    stored = noise(37, 23, dtype=dtype)
    tifffile.imwrite(
        tmp_path / "image.tif",
        stored,
        photometric="miniswhite",
        compression=compression,
        byteorder="<",
    )
    result, _ = decoding.read_image(tmp_path / "image.tif")
    np.testing.assert_array_equal(result, np.iinfo(dtype).max - stored)


@pytest.mark.parametrize(
    ("colour_type", "num_channels"), [(0, 1), (4, 2), (2, 3), (6, 4)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_of_the_specification_is_read(tmp_path, dtype, colour_type, num_channels):
    array = noise(17, 23, num_channels, dtype=dtype)
    file = png_file(array, 8 * array.itemsize, colour_type)
    (tmp_path / "image.png").write_bytes(file)
    result, _ = decoding.read_image(tmp_path / "image.png")
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.squeeze(array))


def test_a_bmp_with_16_bits_per_pixel_is_read_with_8_bits_per_sample(tmp_path):
    red, green, blue = 0b11111 << 11, 0b111111 << 5, 0b11111
    pixels = np.array([[red, green], [blue, 0]], "<u2")
    header = struct.pack(
        "<iiHHIIiiIIIII", 2, -2, 1, 16, 3, 8, 0, 0, 0, 0, red, green, blue
    )
    start = 14 + 4 + len(header)
    (tmp_path / "image.bmp").write_bytes(
        struct.pack("<2sIHHII", b"BM", start + 8, 0, 0, start, 40)
        + header
        + pixels.tobytes()
    )
    result, _ = decoding.read_image(tmp_path / "image.bmp")
    expected = [[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [0, 0, 0]]]
    np.testing.assert_array_equal(result, np.array(expected, np.uint8))


def test_grey_jpeg_stays_grey(tmp_path):
    array = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (16, 1))
    write(tmp_path / "image.jpeg", array, quality=95)
    result, _ = decoding.read_image(tmp_path / "image.jpeg")
    assert result.shape == array.shape
    assert np.abs(result.astype(int) - array).max() <= 3


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_16_bits_of_grey_in_a_jpeg_2000_are_read(tmp_path, options):
    array = noise(37, 23, dtype=np.uint16)
    write(tmp_path / "image.jp2", array, **options)  # the second is a mere codestream
    result, info = decoding.read_image(tmp_path / "image.jp2")
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(result, array)
    assert "dropped" not in info


# Modes


def test_palette_becomes_rgb(tmp_path):
    image = Image.fromarray(noise(17, 23, 3)).quantize(32)
    image.save(tmp_path / "image.png")
    result, _ = decoding.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result, np.asarray(image.convert("RGB")))


def test_transparent_palette_becomes_rgb_and_alpha(tmp_path):
    image = Image.fromarray(noise(17, 23, 3)).quantize(32)
    image.save(tmp_path / "image.png", transparency=5)
    result, _ = decoding.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result[..., 3] == 0, np.asarray(image) == 5)
    np.testing.assert_array_equal(result[..., :3], np.asarray(image.convert("RGB")))


def test_transparent_grey_level_becomes_alpha(tmp_path):
    array = noise(17, 23)
    Image.fromarray(array).save(tmp_path / "image.png", transparency=int(array[3, 4]))
    result, _ = decoding.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result[..., 0], array)
    np.testing.assert_array_equal(result[..., 1] == 0, array == array[3, 4])


def test_black_and_white_becomes_grey(tmp_path):
    bits = noise(17, 23) > 127
    Image.fromarray(bits).save(tmp_path / "image.png")
    result, _ = decoding.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result, np.where(bits, 255, 0))


@pytest.mark.parametrize("num_channels", [1, 3])
def test_a_transparent_16_bit_colour_becomes_alpha(tmp_path, num_channels):
    array = noise(17, 23, num_channels, dtype=np.uint16)
    array[3, 4] = 0x0102
    array[3, 5] = 0x0103  # opaque: the same upper byte is not the same colour
    key = (b"tRNS", b"\1\2" * num_channels)
    colour_type = {1: 0, 3: 2}[num_channels]
    (tmp_path / "image.png").write_bytes(png_file(array, 16, colour_type, key))
    result, _ = decoding.read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(result[..., :-1], array)
    alpha = np.full((17, 23), 65535, np.uint16)
    alpha[3, 4] = 0
    np.testing.assert_array_equal(result[..., -1], alpha)


@pytest.mark.parametrize(
    ("mode", "suffix", "colour", "expected"),
    [
        (
            "CMYK",
            "jpg",
            (51, 102, 0, 51),
            [0.8 * 0.8 * 255, 0.6 * 0.8 * 255, 0.8 * 255],
        ),
        ("LAB", "tif", (255, 128, 128), [255, 255, 255]),
    ],
)
def test_other_colours_become_rgb_without_their_profile(
    tmp_path, mode, suffix, colour, expected
):
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (23, 17), colour).save(path, quality=100, icc_profile=b"inks")
    result, info = decoding.read_image(path)
    assert result.shape == (17, 23, 3)
    np.testing.assert_allclose(result[8, 8], expected, atol=3)
    assert "icc_profile" not in info


def test_multi_picture_jpeg_of_a_camera_is_its_first_picture(tmp_path):
    first, second = Image.new("RGB", (23, 17), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / "image.jpg", "MPO", save_all=True, append_images=[second])
    result, _ = decoding.read_image(tmp_path / "image.jpg")
    assert result.shape == (17, 23, 3)
    assert result[..., 0].min() > 200


@pytest.mark.parametrize(
    ("array", "expected"),
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
        result = decoding.as_rgb8(grey)
        assert result.dtype == np.uint8
        np.testing.assert_array_equal(result, expected)


def test_as_rgb8_leaves_rgb_and_drops_alpha():
    array = noise(5, 7, 4)
    array[..., 3] |= 1  # visible
    np.testing.assert_array_equal(decoding.as_rgb8(array), array[..., :3])
    np.testing.assert_array_equal(decoding.as_rgb8(array[..., :3]), array[..., :3])


# Metadata


def test_the_orientation_of_a_png_may_follow_its_pixels(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    chunk = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    data = png_file(noise(17, 23, 3, dtype=np.uint16), 16, 2, after=[chunk])
    (tmp_path / "image.png").write_bytes(data)
    result, _ = decoding.read_image(tmp_path / "image.png")
    expected = np.rot90(noise(17, 23, 3, dtype=np.uint16), -1)
    np.testing.assert_array_equal(result, expected)
    # Missing data does not count as a damaged orientation.
    (tmp_path / "image.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(decoding.ImageError, match="truncated"):
        decoding.read_image(tmp_path / "image.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_photograph_with_damaged_exif_data_is_read(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    damaged = b"Exif\0\0" + b"no TIFF header at all"
    write(path, noise(17, 23, 3), exif=damaged, icc_profile=b"profile")
    result, info = decoding.read_image(path)
    np.testing.assert_array_equal(result, decoding.read_rgb8(path))
    if suffix != "jpg":
        np.testing.assert_array_equal(result, noise(17, 23, 3))
    assert result.shape[:2] == (17, 23)
    assert "exif" not in info
    assert info["icc_profile"] == b"profile"


def test_pillow_does_not_warn_about_metadata_that_it_repairs(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Rainmaker"
    write(tmp_path / "image.jpg", noise(17, 23, 3), exif=exif.tobytes()[:-6])
    with (
        pytest.warns(UserWarning, match="Truncated"),
        Image.open(tmp_path / "image.jpg") as image,
    ):
        image.getexif()
    code = "import sys; from ttl_jax.data.files import decoding as d; d.read_image(sys.argv[1])"
    result = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code, "image.jpg"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert result.stderr == b""


# Refusals


def refusal(path):
    with pytest.raises(decoding.ImageError) as caught:
        decoding.read_image(path)
    message = str(caught.value)
    assert message == f"{path} {caught.value.reason}."
    assert "\n" not in message
    return message


def test_an_empty_file_is_rejected(tmp_path):
    (tmp_path / "image.png").touch()
    assert "is empty" in refusal(tmp_path / "image.png")


def test_a_missing_file_is_rejected(tmp_path):
    assert "cannot be read: No such file" in refusal(tmp_path / "image.png")


def test_other_files_than_images_are_rejected(tmp_path):
    (tmp_path / "text.jpg").write_text("<html>404 Not Found</html>")
    write(tmp_path / "other.png", noise(17, 23, 3), format="PCX")
    for name in ("text.jpg", "other.png"):
        assert "not a PNG, JPEG, WebP, TIFF, BMP, GIF, JPEG 2000 or AVIF" in refusal(
            tmp_path / name
        )


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        ("png", np.uint8),
        ("png", np.uint16),
        ("tif", np.uint8),
        ("tif", np.uint16),
        ("webp", np.uint8),
        ("bmp", np.uint8),
        ("gif", np.uint8),
    ],
)
def test_a_truncated_file_is_rejected_or_complete(tmp_path, suffix, dtype):
    path = tmp_path / f"image.{suffix}"
    array = noise(20, 30, 3, dtype=dtype)
    if suffix == "png":
        path.write_bytes(png_file(array, 8 * array.itemsize, 2))
    elif suffix == "tif":
        tifffile.imwrite(path, array, photometric="rgb", compression="zlib")
    else:
        write(path, array)
    data, complete = path.read_bytes(), decoding.read_image(path).array
    # The checksum of the last pixels and what marks the end may be missing.
    harmless = {"png": 20, "gif": 2}.get(suffix, 0)
    for kept in range(0, len(data), 7):
        path.write_bytes(data[:kept])
        if len(data) - kept <= harmless:
            np.testing.assert_array_equal(decoding.read_image(path).array, complete)
        else:
            refusal(path)


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 4}])
def test_a_jpeg_without_its_end_marker_is_read_and_no_other_truncated_one(
    tmp_path, caplog, options
):
    path = tmp_path / "image.jpg"
    write(path, noise(40, 60, 3), quality=80, **options)
    data, complete = path.read_bytes(), decoding.read_image(path).array
    for missing in range(1, 60):
        path.write_bytes(data[:-missing])
        try:
            read = decoding.read_image(path).array
        except decoding.ImageError:
            assert missing > 2
        else:  # at most padding bits are missing
            np.testing.assert_array_equal(read, complete)
            assert missing <= 4
    assert caplog.text.count("its end marker is missing") == 1  # of several reads


def test_a_progressive_jpeg_may_lack_a_scan_without_its_end_marker(tmp_path):
    path = tmp_path / "image.jpg"
    write(path, noise(40, 60, 3), progressive=True)
    path.write_bytes(path.read_bytes()[:-2])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "gif"])
def test_several_images_in_one_file_are_rejected(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    rest = [Image.new("RGB", (23, 17), colour) for colour in ("red", "blue")]
    Image.fromarray(noise(17, 23, 3)).save(path, save_all=True, append_images=rest)
    assert "is animated or has several pages: 3 pictures" in refusal(path)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_other_depths_are_rejected(tmp_path, dtype):
    Image.fromarray(np.zeros((17, 23), dtype)).save(tmp_path / "image.tif")
    assert "have neither 8 nor 16 bits" in refusal(tmp_path / "image.tif")
    colour = np.zeros((17, 23, 3), dtype)  # which Pillow does not recognize at all
    tifffile.imwrite(tmp_path / "colour.tif", colour, photometric="rgb")
    assert "have neither 8 nor 16 bits" in refusal(tmp_path / "colour.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_planes_are_rejected_rather_than_misread(tmp_path, compression):
    tifffile.imwrite(
        tmp_path / "image.tif",
        noise(3, 17, 23, dtype=np.uint16),
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
    )
    assert "plane" in refusal(tmp_path / "image.tif")


def test_a_decompression_bomb_is_rejected(tmp_path, monkeypatch):
    write(tmp_path / "image.png", noise(17, 23, 3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    assert "has too many pixels" in refusal(tmp_path / "image.png")


def test_names_are_printed_on_one_line():
    assert decoding.printable("a\nb\udcffc\té") == "a\ufffdb\ufffdc\ufffdé"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_pixels_are_counted_from_the_header(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(24, 33, 3)).save(path)
    assert decoding.count_pixels(path) == 24 * 33
    path.write_bytes(path.read_bytes()[:8])
    assert decoding.count_pixels(path) == 0
    os.mkfifo(tmp_path / "pipe")
    assert decoding.count_pixels(tmp_path / "pipe") == 0
    assert decoding.count_pixels(tmp_path / "nowhere") == 0
