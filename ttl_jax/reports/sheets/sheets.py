"""Comparison sheets: images in rows, methods in columns, close-ups below each image.

Positions are in pixels of the sheet. Its PNG holds every image pixel for pixel, and every
close-up with each pixel as a square of whole pixels. Only images that differ from the
panels in width are resampled (Lanczos); their close-ups are not. The PDF holds the same
pixels, with text and frames as vectors. It is as wide as a page's text, where sheets of
any number of columns have text of one size.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import figure, font_manager, patches, textpath
from matplotlib.backends import backend_agg
from PIL import Image

from ttl_jax import atomic_files
from ttl_jax.data.files import encoding
from ttl_jax.reports.sheets.close_ups import Box, most_different

SUFFIXES = (".png", ".pdf")
CLOSE_UP_COLOURS = ("#ff2d2d", "#ffd60a", "#32d74b", "#0a9dff")  # in this order

_PAGE_WIDTH = 7.0  # inches of the PDF: the text width of two columns
_TEXT_SIZE = 7.0  # points on that page
_FRAME = 0.75  # points on that page
_GAP = 1.5  # points on that page, between panels
_MIN_TEXT_SIZE = 10  # pixels
_ENLARGEMENT = 4  # approximate, of close-ups that are placed automatically
_FONT = font_manager.FontProperties(family="DejaVu Sans")  # matplotlib's own


@dataclasses.dataclass(frozen=True)
class SheetRow:
    """One image as every method restored it.

    Attributes:
      panels: Images by their column's label, uint8 [H, W, 3], all of one size. All rows
        of a sheet have the same labels in the same order.
      captions: Text below an image, such as its scores, by label.
      name: Text at the left of the row.
      close_ups: Boxes to enlarge below each image, at most one for each colour, or the
        number of boxes to place where the images differ most.
      compared: Labels of the images whose differences place close-ups; all if empty.
    """

    panels: Mapping[str, np.ndarray]
    captions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = ""
    close_ups: Sequence[Box] | int = ()
    compared: Sequence[str] = ()

    def __post_init__(self):
        found = {label: (p.dtype, p.shape) for label, p in self.panels.items()}
        kinds = {(dtype, len(shape), shape[-1]) for dtype, shape in found.values()}
        if len(set(found.values())) != 1 or kinds != {(np.dtype(np.uint8), 3, 3)}:
            raise ValueError(
                f"Expected panels of one shape, uint8 [H, W, 3], not {found}."
            )
        unknown = {*self.captions, *self.compared} - self.panels.keys()
        if unknown:
            raise ValueError(
                f"A row of {list(self.panels)} has no {', '.join(sorted(unknown))}."
            )
        if isinstance(self.close_ups, int):
            boxes, count = (), self.close_ups
        else:
            boxes, count = self.close_ups, len(self.close_ups)
        if not 0 <= count <= len(CLOSE_UP_COLOURS):
            raise ValueError(
                f"A row has 0 to {len(CLOSE_UP_COLOURS)} close-ups, not {count}."
            )
        for box in boxes:
            x, y, width, height = box
            inside = 0 <= x < x + width <= self.width
            if not (inside and 0 <= y < y + height <= self.height):
                raise ValueError(
                    f"The close-up {','.join(map(str, box))} (x, y, width, height) does "
                    f"not lie within the image of {self.width} x {self.height} pixels."
                )

    @property
    def height(self) -> int:
        return next(iter(self.panels.values())).shape[0]

    @property
    def width(self) -> int:
        return next(iter(self.panels.values())).shape[1]


def make_sheet(
    rows: Sequence[SheetRow], *, panel_width: int | None = None
) -> np.ndarray:
    """Returns the rows below each other under their columns' labels, on white.

    Labels that are wider than a panel end in an ellipsis.

    Args:
      rows: At least one row.
      panel_width: Width of each panel, in pixels; by default that of the widest image.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: If there are no rows, their labels differ, or close-ups do not fit.
    """
    # A power of two: the figure's size in inches is exact.
    page = _draw(rows, panel_width, dpi=64)
    canvas = backend_agg.FigureCanvasAgg(page)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_sheet(
    path: str | os.PathLike[str],
    rows: Sequence[SheetRow],
    *,
    panel_width: int | None = None,
) -> None:
    """Writes the sheet as PNG or PDF, by suffix; the same rows give the same bytes.

    Args:
      path: Path of the file; an existing file is replaced.
      rows: Rows, as for `make_sheet`.
      panel_width: Width, as for `make_sheet`.

    Raises:
      ValueError: If the suffix is unknown, or as for `make_sheet`.
      OSError: If the file cannot be written.
    """
    check_suffix(path)
    if pathlib.Path(path).suffix.lower() == ".png":
        encoding.write_image(path, make_sheet(rows, panel_width=panel_width))
        return
    # Publishers ask for TrueType; and each picture is embedded as it is.
    options: Any = {"pdf.fonttype": 42, "image.composite_image": False}
    with matplotlib.rc_context(options), atomic_files.atomic_file(path) as stream:
        page = _draw(rows, panel_width)
        page.savefig(stream, format="pdf", metadata={"CreationDate": None})


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Checks that a sheet can be written to a path.

    Raises:
      ValueError: If the suffix is not in `SUFFIXES`.
    """
    if pathlib.Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a sheet's suffix must be {' or '.join(SUFFIXES)}.")


def _common_labels(rows: Sequence[SheetRow]) -> list[str]:
    if not rows:
        raise ValueError("A sheet needs at least one row.")
    labels = list(rows[0].panels)
    for row in rows:
        if list(row.panels) != labels:
            raise ValueError(
                f"The rows of a sheet have the same columns, but {row.name!r} has "
                f"{list(row.panels)}, not {labels}."
            )
    return labels


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """Sizes and places that all rows share, in pixels of the sheet.

    Attributes:
      panel: Width of each panel.
      lefts: Left side of each column.
      text: Size of the text.
      line: Thickness of the frames.
      gap: Distance between panels.
    """

    panel: int
    lefts: Sequence[int]
    text: float
    line: int
    gap: int

    @property
    def width(self) -> int:
        """Width of the sheet."""
        return self.lefts[-1] + self.panel

    @property
    def strip(self) -> int:
        """Height of a line of text."""
        return round(1.5 * self.text)

    def room(self, num_close_ups: int) -> int:
        """Width that the close-ups below a panel share."""
        return (
            self.panel - 2 * self.line * num_close_ups - self.gap * (num_close_ups - 1)
        )


def _choose_sizes(rows: Sequence[SheetRow], panel_width: int | None) -> _Sizes:
    num_columns = len(_common_labels(rows))
    width = max(row.width for row in rows) if panel_width is None else panel_width
    if width < 1:
        raise ValueError(f"A panel of {width} pixels is too narrow; give 1 or more.")
    point = num_columns * width / (72 * _PAGE_WIDTH)  # in pixels, approximately
    text = max(_TEXT_SIZE * point, _MIN_TEXT_SIZE)
    captions = [caption for row in rows for caption in row.captions.values()]
    widest = max((_text_width(caption, text) for caption in captions), default=0)
    if widest > 0.95 * width:  # Captions are numbers, which must not be cut.
        text = max(text * 0.95 * width / widest, _MIN_TEXT_SIZE)
    gap = max(round(_GAP * point), 4)
    margin = round(1.5 * text) if any(row.name for row in rows) else 0
    lefts = [margin + i * (width + gap) for i in range(num_columns)]
    return _Sizes(width, lefts, text, max(round(_FRAME * point), 2), gap)


def _draw(
    rows: Sequence[SheetRow], panel_width: int | None, dpi: float | None = None
) -> figure.Figure:
    """The sheet as a figure; by default it is as wide as a page's text."""
    sizes = _choose_sizes(rows, panel_width)
    dpi = dpi or sizes.width / _PAGE_WIDTH
    page = figure.Figure(dpi=dpi)
    axes = page.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    y = 0
    if any(rows[0].panels):
        y = _write_line(axes, list(rows[0].panels), sizes, y)
    for i, row in enumerate(rows):
        y = _draw_row(axes, row, sizes, y + (sizes.gap if i else 0))
    page.set_size_inches(sizes.width / dpi, y / dpi)
    axes.set(xlim=(0, sizes.width), ylim=(y, 0))
    return page


def _draw_row(axes, row: SheetRow, sizes: _Sizes, y: int) -> int:
    """Draws the images, their close-ups and captions from y on; returns where they end."""
    scale = sizes.panel / row.width
    height = max(round(row.height * scale), 1)
    boxes = _place_boxes(row, sizes)
    for left, panel in zip(sizes.lefts, row.panels.values()):
        _show(axes, _resize(panel, sizes.panel, height), left, y)
        for box, colour in zip(boxes, CLOSE_UP_COLOURS):
            corners = np.array([box.x, box.y, box.x + box.width, box.y + box.height])
            x, top, right, bottom = (corners * scale).round().astype(int).tolist()
            framed = Box(left + x, y + top, right - x, bottom - top)
            _frame(axes, framed, colour, sizes.line)
    if row.name:
        _write(axes, row.name, 1.1 * sizes.text, y + height / 2, sizes.text, height, 90)
    y += height
    if boxes:
        y = _draw_close_ups(axes, row, boxes, sizes, y)
    if row.captions:
        captions = [row.captions.get(label, "") for label in row.panels]
        y = _write_line(axes, captions, sizes, y)
    return y


def _draw_close_ups(
    axes, row: SheetRow, boxes: Sequence[Box], sizes: _Sizes, y: int
) -> int:
    """Draws the boxes' contents side by side, all enlarged alike by whole pixels."""
    room, total = sizes.room(len(boxes)), sum(box.width for box in boxes)
    zoom = room // total
    if zoom < 1:
        raise ValueError(
            f"Close-ups of {' + '.join(str(box.width) for box in boxes)} pixels do not "
            f"fit side by side below a panel, where {max(room, 0)} are free; take "
            "smaller or fewer."
        )
    # Several close-ups share the space that is left between them; one is centred.
    space = (room - zoom * total) // (len(boxes) - 1 or 2)
    x = sizes.line + (space if len(boxes) == 1 else 0)
    y += sizes.gap + sizes.line
    for box, colour in zip(boxes, CLOSE_UP_COLOURS):
        for left, panel in zip(sizes.lefts, row.panels.values()):
            inside = panel[box.y : box.y + box.height, box.x : box.x + box.width]
            _show(axes, inside.repeat(zoom, axis=0).repeat(zoom, axis=1), left + x, y)
            framed = Box(left + x, y, zoom * box.width, zoom * box.height)
            _frame(axes, framed, colour, sizes.line)
        x += zoom * box.width + 2 * sizes.line + sizes.gap + space
    return y + zoom * max(box.height for box in boxes) + sizes.line


def _place_boxes(row: SheetRow, sizes: _Sizes) -> Sequence[Box]:
    """The row's close-ups, given or placed automatically."""
    count = row.close_ups
    if not isinstance(count, int):
        return count
    if not count:
        return ()
    zoom = max(round(_ENLARGEMENT * sizes.panel / row.width), 1)
    width = sizes.room(count) // count // zoom
    # A single close-up is as wide as the panel and should not be as high.
    height = width // 2 if count == 1 else 3 * width // 4
    compared = [row.panels[label] for label in row.compared or row.panels]
    return most_different(compared, count, max(width, 1), max(height, 1))


def _resize(panel: np.ndarray, width: int, height: int) -> np.ndarray:
    if panel.shape[:2] == (height, width):
        return panel
    image = Image.fromarray(panel)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def _show(axes, picture: np.ndarray, x: int, y: int) -> None:
    """Draws a picture pixel for pixel with its upper left corner at (x, y)."""
    # Matplotlib rounds sizes up to whole pixels: without the margin, rounding errors
    # could stretch a picture by one.
    left, top = x + 1e-4, y + 1e-4
    right, bottom = x + picture.shape[1] - 1e-4, y + picture.shape[0] - 1e-4
    extent = (left, right, bottom, top)
    axes.imshow(picture, extent=extent, interpolation="none", aspect="auto")


def _frame(axes, box: Box, colour: str, line: int) -> None:
    """Draws a line around a box that covers nothing of it."""
    corner, size = (box.x - line / 2, box.y - line / 2), (box.width, box.height)
    points = line * 72 / axes.figure.dpi
    frame = patches.Rectangle(corner, size[0] + line, size[1] + line, fill=False)
    frame.set(edgecolor=colour, linewidth=points, snap=False)
    axes.add_patch(frame)


def _write_line(axes, texts: Sequence[str], sizes: _Sizes, y: int) -> int:
    """Writes a text below or above each panel; returns where the line ends."""
    baseline = y + 1.1 * sizes.text
    for left, text in zip(sizes.lefts, texts, strict=True):
        _write(axes, text, left + sizes.panel / 2, baseline, sizes.text, sizes.panel)
    return y + sizes.strip


def _write(
    axes, text: str, x: float, y: float, size: float, room: float, angle: int = 0
) -> None:
    """Writes a text around the middle x on the baseline y; it is cut to the room."""
    if _text_width(text, size) > room:
        while text and _text_width(f"{text}…", size) > room:
            text = text[:-1].rstrip()
        text += "…"
    axes.text(
        x,
        y,
        text,
        fontproperties=_FONT,
        fontsize=size * 72 / axes.figure.dpi,
        color="black",
        rotation=angle,
        rotation_mode="anchor",
        horizontalalignment="center",
        verticalalignment="baseline",
        parse_math=False,
        usetex=False,
    )


def _text_width(text: str, size: float) -> float:
    measure = textpath.text_to_path.get_text_width_height_descent
    width, _, _ = measure(text, _FONT, ismath=False)
    return width * size / _FONT.get_size_in_points()
