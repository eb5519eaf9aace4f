"""Comparison sheets, against the images they show."""

import io
import itertools
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ttl_jax.data.files import decoding
from ttl_jax.reports.sheets import sheets
from ttl_jax.reports.sheets.close_ups import Box
from ttl_jax.reports.sheets.sheets import SheetRow

RED, YELLOW = (0xFF, 0x2D, 0x2D), (0xFF, 0xD6, 0x0A)


def noise(height, width, seed=0):
    # Below 200: neither white nor the colour of a frame.
    rng = np.random.default_rng((seed, height, width))
    return rng.integers(0, 200, (height, width, 3), np.uint8)


def noisy_row(height=50, width=120, labels=("input", "ours", "target"), **options):
    panels = {label: noise(height, width, i) for i, label in enumerate(labels)}
    return SheetRow(panels, **options)


def places(sheet, image):
    """The corners (y, x) at which the image lies in the sheet, pixel for pixel."""
    height, width, _ = image.shape
    corner = (
        (sheet[: len(sheet) - height + 1, : sheet.shape[1] - width + 1]) == image[0, 0]
    )
    return [
        (int(y), int(x))
        for y, x in np.argwhere(corner.all(-1))
        if np.array_equal(sheet[y : y + height, x : x + width], image)
    ]


def is_white(part):
    return part.size > 0 and (part == 255).all()


@pytest.mark.parametrize(("height", "width"), [(33, 47), (321, 481)])
@pytest.mark.parametrize("num_columns", [1, 3])
def test_every_image_is_in_the_sheet_pixel_for_pixel(height, width, num_columns):
    row = noisy_row(height, width, [f"method {i}" for i in range(num_columns)])
    sheet = sheets.make_sheet([row])
    assert sheet.dtype == np.uint8
    found = [places(sheet, panel) for panel in row.panels.values()]
    assert [len(corners) for corners in found] == [1] * num_columns
    tops, lefts = zip(*(corners[0] for corners in found))
    assert set(tops) == {len(sheet) - height}
    assert lefts[0] == 0 and lefts[-1] + width == sheet.shape[1]
    for left, following in itertools.pairwise(lefts):
        assert is_white(sheet[:, left + width : following])


def test_labels_stand_above_and_captions_below_their_images():
    plain = noisy_row()
    row = noisy_row(captions={"ours": "30.12 / 0.9"})
    sheet = sheets.make_sheet([row])
    (top, left), *_ = places(sheet, row.panels["ours"])
    columns = slice(left, left + 120)
    assert sheet[:top, columns].min() < 100
    assert sheet[top + 50 :, columns].min() < 100
    assert is_white(sheet[top + 50 :, :left])
    assert len(sheets.make_sheet([plain])) == top + 50


def test_empty_labels_take_no_room():
    row = noisy_row(labels=[""])
    np.testing.assert_array_equal(sheets.make_sheet([row]), row.panels[""])


def test_a_long_label_is_cut_with_an_ellipsis_within_its_panel():
    panel = noise(20, 60)
    words = "a label of many words"
    sheet = sheets.make_sheet([SheetRow({words: panel, "": panel})])
    strip = sheet[: len(sheet) - 20]
    assert is_white(strip[:, 60:])
    starts = [words[:i].rstrip() for i in range(1, len(words))]
    rows = [SheetRow({f"{start}…": panel, "": panel}) for start in starts]
    assert any(np.array_equal(sheet, sheets.make_sheet([row])) for row in rows)


def test_labels_are_not_parsed_as_mathematics():
    label = "$x_1$ {"
    sheet = sheets.make_sheet([noisy_row(labels=[label])])
    assert sheet[: len(sheet) - 50].min() < 100


def test_rows_stand_below_each_other_with_their_names_at_the_left():
    rows = [noisy_row(name="a scene"), noisy_row(40)]
    sheet = sheets.make_sheet(rows)
    corners = [places(sheet, row.panels["input"])[0] for row in rows]
    (first, left), (second, other_left) = corners
    assert left == other_left > 0
    assert second > first + 50
    assert sheet[first : first + 50, :left].min() < 100
    assert is_white(sheet[first + 50 :, :left])


def test_a_narrower_row_is_scaled_to_the_widest():
    wide, narrow = noisy_row(50, 120), noisy_row(30, 60)
    sheet = sheets.make_sheet([wide, narrow])
    scaled = Image.fromarray(narrow.panels["ours"]).resize((120, 60), 1)  # Lanczos
    (_, left), *_ = places(sheet, wide.panels["ours"])
    assert places(sheet, np.asarray(scaled)) == [(len(sheet) - 60, left)]
    half = sheets.make_sheet([wide, narrow], panel_width=60)
    assert places(half, narrow.panels["ours"])


@pytest.mark.parametrize("width", [120, 481, 700])
def test_a_close_up_shows_its_box_in_squares_and_both_are_framed(width):
    row = noisy_row(60, width, close_ups=[Box(30, 20, 25, 15)])
    sheet = sheets.make_sheet([row])
    for panel in row.panels.values():
        inside, zoom = panel[20:35, 30:55], (width - 4) // 25
        ((y, x),) = places(sheet, np.kron(inside, np.ones((zoom, zoom, 1), np.uint8)))
        ((top, left),) = places(sheet[:y], inside)
        for up, leftmost, height, length in (
            (top, left, 15, 25),
            (y, x, 15 * zoom, 25 * zoom),
        ):
            rows, columns = slice(up - 1, up + height + 1), slice(leftmost - 1, None)
            framed = sheet[rows, columns][:, : length + 2]
            for edge in (framed[0], framed[-1], framed[:, 0], framed[:, -1]):
                assert (edge == RED).all()


def test_close_ups_of_one_size_are_enlarged_alike_side_by_side():
    boxes = [Box(10, 10, 20, 15), Box(60, 20, 20, 15)]
    row = noisy_row(60, 200, close_ups=boxes)
    sheet = sheets.make_sheet([row])
    panel = row.panels["input"]
    insides = [panel[b.y : b.y + 15, b.x : b.x + 20] for b in boxes]
    zoomed = [np.kron(inside, np.ones((4, 4, 1), np.uint8)) for inside in insides]
    ((top, left),), ((other_top, right),) = (places(sheet, each) for each in zoomed)
    assert top == other_top and left + 80 < right
    assert (sheet[top, [left - 1, right - 1]] == [RED, YELLOW]).all()


def test_close_ups_are_placed_where_the_compared_images_differ():
    rows = []
    for x in (60, 150):
        same = noise(90, 240)
        changed, target = same.copy(), noise(90, 240, 1)
        changed[30:45, x : x + 20] = 255
        panels = {"a": same, "b": changed, "target": target}
        rows.append(SheetRow(panels, close_ups=2, compared=["a", "b"]))
    sheet = sheets.make_sheet(rows)
    lines = np.unique(np.nonzero((sheet == RED).all(-1).sum(1) > 30)[0])
    assert len(lines)
    for row, x in zip(rows, (60, 150)):
        # All of the change is in a red frame, the same one in every column.
        for panel in row.panels.values():
            assert places(sheet, panel[30:45, x : x + 20])
        assert not places(sheet, row.panels["a"])


def test_a_small_image_in_a_wide_sheet_is_enlarged_from_its_own_pixels():
    wide = noisy_row(60, 240, labels=["a"])
    small = noisy_row(40, 60, labels=["a"], close_ups=[Box(10, 10, 20, 10)])
    sheet = sheets.make_sheet([wide, small])
    inside = small.panels["a"][10:20, 10:30]
    assert places(sheet, inside.repeat(11, axis=0).repeat(11, axis=1))


def test_the_png_holds_the_sheet_in_the_same_bytes_each_time(tmp_path):
    rows = [noisy_row(captions={"ours": "1 / 2"}, close_ups=1)]
    for name in ("a.png", "b.PNG"):
        sheets.write_sheet(tmp_path / name, rows)
    np.testing.assert_array_equal(
        decoding.read_image(tmp_path / "a.png").array, sheets.make_sheet(rows)
    )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.PNG").read_bytes()


def pdf_pictures(data):
    """The RGB pictures in a PDF of matplotlib's, whose streams are those of PNG files."""
    keys = (b"Width", b"Height")
    for match in re.finditer(rb"<<(.{0,400}?)>>\s*stream\n", data, re.DOTALL):
        words = match[1] + data[match.end() - 400 : match.end()]
        if b"/Subtype /Image" not in words:
            continue
        length = data.index(b"\nendstream", match.end()) - match.end()
        sizes = [int(re.search(rb"/%s (\d+)" % key, words)[1]) for key in keys]
        png = b"\x89PNG\r\n\x1a\n"
        header = struct.pack(">IIBBBBB", *sizes, 8, 2, 0, 0, 0)
        stream = data[match.end() : match.end() + length]
        for kind, body in ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b"")):
            checksum = struct.pack(">I", zlib.crc32(kind + body))
            png += struct.pack(">I", len(body)) + kind + body + checksum
        # Rows lie in the file from below, and the page's matrix turns them over.
        yield np.asarray(Image.open(io.BytesIO(png)))[::-1]


def test_the_pdf_holds_every_image_pixel_for_pixel_and_its_writing_as_a_font(tmp_path):
    box = Box(30, 20, 25, 15)
    row = noisy_row(close_ups=[box], captions={"ours": "30.12 / 0.9"})
    for name in ("a.pdf", "b.pdf"):
        sheets.write_sheet(tmp_path / name, [row])
    data = (tmp_path / "a.pdf").read_bytes()
    assert data == (tmp_path / "b.pdf").read_bytes()
    expected = list(row.panels.values())
    expected += [
        panel[20:35, 30:55].repeat(4, axis=0).repeat(4, axis=1) for panel in expected
    ]
    found = list(pdf_pictures(data))
    assert len(found) == len(expected)
    for image in expected:
        assert any(np.array_equal(image, other) for other in found)
    assert data.count(b"/FontFile2") == 1  # TrueType
    height, width, _ = sheets.make_sheet([row]).shape
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", data)
    assert float(box[1]) == pytest.approx(7 * 72)
    assert float(box[2]) == pytest.approx(7 * 72 * height / width, rel=1e-3)


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ({}, "one shape"),
        ({"a": np.zeros((5, 5, 3), np.uint8), "b": np.zeros((5, 6, 3), np.uint8)}, "6"),
        ({"a": np.zeros((5, 5), np.uint8)}, r"uint8 \[H, W, 3\], not .*\(5, 5\)"),
        ({"a": np.zeros((5, 5, 3))}, "float64"),
    ],
)
def test_panels_that_do_not_fit_are_rejected(panels, message):
    with pytest.raises(ValueError, match=message):
        SheetRow(panels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"captions": {"theirs": "1"}}, "has no theirs"),
        ({"compared": ["theirs"]}, "has no theirs"),
        ({"close_ups": 5}, "0 to 4 close-ups, not 5"),
        ({"close_ups": [Box(0, 0, 9, 9)] * 5}, "0 to 4 close-ups, not 5"),
        ({"close_ups": [Box(100, 0, 21, 9)]}, "100,0,21,9.*image of 120 x 50"),
        ({"close_ups": [Box(0, 42, 9, 9)]}, "0,42,9,9"),
        ({"close_ups": [Box(-1, 0, 9, 9)]}, "-1,0,9,9"),
        ({"close_ups": [Box(0, 0, 9, 0)]}, "0,0,9,0"),
    ],
)
def test_invalid_rows_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        noisy_row(**options)


@pytest.mark.parametrize(
    ("rows", "width", "message"),
    [
        ([], None, "at least one row"),
        ([noisy_row(), noisy_row(labels=["input"])], None, r"has \['input'\], not"),
        ([noisy_row()], 0, "1 or more"),
        ([noisy_row(close_ups=[Box(0, 0, 119, 9)])], None, "119 pixels do not fit"),
        ([noisy_row(12, 14, close_ups=4)], None, "do not fit"),
    ],
)
def test_invalid_sheets_are_rejected(rows, width, message):
    with pytest.raises(ValueError, match=message):
        sheets.make_sheet(rows, panel_width=width)


def test_another_suffix_is_rejected(tmp_path):
    with pytest.raises(ValueError, match=r"sheet.jpg: .*\.png or \.pdf"):
        sheets.write_sheet(tmp_path / "sheet.jpg", [noisy_row()])
    assert not list(tmp_path.iterdir())
