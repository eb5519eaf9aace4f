"""Comparison sheets: images in rows, methods in columns, close-ups below each image.

A sheet's unit is the pixel. Its PNG holds every image pixel for pixel, and every close-up
with each pixel as a square of whole pixels, save for rows whose images are not as wide as
the panels: those images are resampled (Lanczos), their close-ups are not. The PDF holds
the same pixels, with writing and frames as vectors. Set over a page's full text width, as
the PDF is, a sheet of any number of columns has writing of one size.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib import figure, font_manager, patches, textpath
from matplotlib.backends import backend_agg, backend_pdf
from PIL import Image

from ttl_jax import atomic_files
from ttl_jax.data.files import encoding
from ttl_jax.reports.sheets.close_ups import Box, most_different

SUFFIXES = (".png", ".pdf")
CLOSE_UP_COLOURS = ("#ff2d2d", "#ffd60a", "#32d74b", "#0a9dff")  # in this order

_PAGE_WIDTH = 7.0  # inches of the PDF: the text width of two columns
_TEXT_SIZE = 7.0  # points on that page
_FRAME = 0.75  # points there
_GAP = 1.5  # points there, between panels
_MIN_TEXT_SIZE = 10  # pixels
_ENLARGEMENT = 4  # of close-ups that are placed automatically, about
_FONT = font_manager.FontProperties(family="DejaVu Sans")  # matplotlib's own


@dataclasses.dataclass(frozen=True)
class SheetRow:
    """One image as every method left it.

    Attributes:
      panels: Column's label to image, uint8 [H, W, 3], all of one size. The labels are
        those of all rows of the sheet, in the same order.
      captions: Label to what is written under its image, such as its scores.
      name: Written at the left of the row.
      close_ups: The boxes to enlarge below each image, at most one for each colour, or
        how many to place where the images differ most.
      compared: The labels between whose images close-ups are placed; of none, all.
    """

    panels: Mapping[str, np.ndarray]
    captions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = ""
    close_ups: Sequence[Box] | int = ()
    compared: Sequence[str] = ()

    def __post_init__(self):
        _check_panels(self.panels)
        unknown = {*self.captions, *self.compared} - self.panels.keys()
        if unknown:
            raise ValueError(
                f"A row of {list(self.panels)} has no {', '.join(sorted(unknown))}."
            )
        automatic = isinstance(self.close_ups, int)
        count = self.close_ups if automatic else len(self.close_ups)
        if not 0 <= count <= len(CLOSE_UP_COLOURS):
            raise ValueError(
                f"A row has 0 to {len(CLOSE_UP_COLOURS)} close-ups, not {count}."
            )
        for box in () if automatic else self.close_ups:
            _check_box(box, self.width, self.height)

    @property
    def height(self) -> int:
        return next(iter(self.panels.values())).shape[0]

    @property
    def width(self) -> int:
        return next(iter(self.panels.values())).shape[1]


def make_sheet(
    rows: Sequence[SheetRow], *, panel_width: int | None = None
) -> np.ndarray:
    """The rows below each other under their columns' labels, on white.

    Labels longer than a panel is wide end in an ellipsis.

    Args:
      rows: At least one.
      panel_width: Pixels; by default the width of the widest image.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: There are no rows, their labels differ, or close-ups have no room.
    """
    layout = _lay_out(rows, panel_width)
    sheet = Image.new("RGB", (layout.width, layout.height), "white")
    for x, y, picture in layout.pictures:
        sheet.paste(Image.fromarray(picture), (x, y))
    # Lines and writing are laid over it, as matplotlib would resample the pictures.
    # 64 divides without remainder: the canvas has as many pixels as the sheet.
    canvas = backend_agg.FigureCanvasAgg(_draw(layout, dpi=64))
    canvas.draw()
    sheet.paste(drawn := Image.fromarray(np.asarray(canvas.buffer_rgba())), mask=drawn)
    return np.asarray(sheet)


def write_sheet(
    path: str | os.PathLike[str],
    rows: Sequence[SheetRow],
    *,
    panel_width: int | None = None,
) -> None:
    """Writes the sheet as PNG or PDF, by suffix; the same rows give the same bytes.

    Args:
      path: Where to; an existing file is replaced.
      rows: As `make_sheet`.
      panel_width: As `make_sheet`.

    Raises:
      ValueError: The suffix is another, or as `make_sheet`.
      OSError: The file cannot be written.
    """
    check_suffix(path)
    if pathlib.Path(path).suffix.lower() == ".png":
        encoding.write_image(path, make_sheet(rows, panel_width=panel_width))
        return
    layout = _lay_out(rows, panel_width)
    # Fonts as TrueType, which publishers ask for, and each picture by itself.
    options = {"pdf.fonttype": 42, "image.composite_image": False}
    with matplotlib.rc_context(options), atomic_files.atomic_file(path) as stream:
        page = _draw(layout, dpi=layout.width / _PAGE_WIDTH, with_pictures=True)
        canvas = backend_pdf.FigureCanvasPdf(page)
        canvas.print_pdf(stream, metadata={"CreationDate": None})


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Refuses a file's name that no sheet is written to.

    Raises:
      ValueError: The suffix is none of `SUFFIXES`.
    """
    if pathlib.Path(path).suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"{path}: a sheet is written as {' or '.join(SUFFIXES)}, by the suffix."
        )


@dataclasses.dataclass
class _Layout:
    """What lies where, in pixels of the sheet.

    Attributes:
      width: Of the sheet.
      height: Of the sheet; grows as rows are added.
      text_size: Of the writing.
      line: Thickness of the frames.
      gap: Between panels.
      pictures: Left, top, pixels.
      frames: What is framed, and the frame's colour.
      texts: Middle, baseline, text, and its angle.
    """

    width: int
    height: int
    text_size: float
    line: int
    gap: int
    pictures: list[tuple[int, int, np.ndarray]] = dataclasses.field(
        default_factory=list
    )
    frames: list[tuple[Box, str]] = dataclasses.field(default_factory=list)
    texts: list[tuple[float, float, str, int]] = dataclasses.field(default_factory=list)

    @property
    def strip(self) -> int:
        """Height of a line of writing."""
        return round(1.5 * self.text_size)

    def write_line(self, text: str, middle: float, width: int) -> None:
        """Writes into the strip that starts at the present height."""
        baseline = self.height + 1.1 * self.text_size
        self.texts.append((middle, baseline, _cut(text, self.text_size, width), 0))


def _lay_out(rows: Sequence[SheetRow], panel_width: int | None) -> _Layout:
    labels = _common_labels(rows)
    width = max(row.width for row in rows) if panel_width is None else panel_width
    if width < 1:
        raise ValueError(f"A panel of {width} pixels is too narrow; give 1 or more.")
    points = len(labels) * width / (72 * _PAGE_WIDTH)  # pixels in one, about
    text_size = max(_TEXT_SIZE * points, _MIN_TEXT_SIZE)
    captions = [caption for row in rows for caption in row.captions.values()]
    widest = max((_text_width(caption, text_size) for caption in captions), default=0)
    if widest > 0.95 * width:  # Numbers are not cut.
        text_size = max(text_size * 0.95 * width / widest, _MIN_TEXT_SIZE)
    line, gap = max(round(_FRAME * points), 2), max(round(_GAP * points), 4)
    margin = round(1.5 * text_size) if any(row.name for row in rows) else 0
    lefts = [margin + i * (width + gap) for i in range(len(labels))]
    layout = _Layout(lefts[-1] + width, 0, text_size, line, gap)

    if any(labels):
        for left, label in zip(lefts, labels):
            layout.write_line(label, left + width / 2, width)
        layout.height += layout.strip
    for i, row in enumerate(rows):
        layout.height += gap if i else 0
        _add_row(layout, row, lefts, width)
    return layout


def _check_panels(panels: Mapping[str, np.ndarray]) -> None:
    shapes = {label: panel.shape for label, panel in panels.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"Expected panels of one shape, not {shapes}.")
    for label, panel in panels.items():
        if panel.dtype != np.uint8 or panel.ndim != 3 or panel.shape[2] != 3:
            raise ValueError(
                f"Expected uint8 [H, W, 3], but {label!r} is {panel.dtype} of shape "
                f"{panel.shape}."
            )


def _check_box(box: Box, width: int, height: int) -> None:
    inside = 0 <= box.x < box.x + box.width <= width
    if not (inside and 0 <= box.y < box.y + box.height <= height):
        raise ValueError(
            f"The close-up {','.join(map(str, box))} (x, y, width, height) does not "
            f"lie within the image of {width} x {height} pixels."
        )


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


def _add_row(layout: _Layout, row: SheetRow, lefts: Sequence[int], width: int) -> None:
    """Adds the images, their close-ups and captions at the layout's present height."""
    scale = width / row.width
    height = max(round(row.height * scale), 1)
    boxes = _boxes(layout, row, width)
    top = layout.height
    for left, panel in zip(lefts, row.panels.values()):
        layout.pictures.append((left, top, _resized(panel, width, height)))
        for box, colour in zip(boxes, CLOSE_UP_COLOURS):
            corners = np.array([box.x, box.y, box.x + box.width, box.y + box.height])
            x, y, right, bottom = (corners * scale).round().astype(int).tolist()
            framed = Box(left + x, top + y, right - x, bottom - y)
            layout.frames.append((framed, colour))
    if row.name:
        name = _cut(row.name, layout.text_size, height)
        layout.texts.append((1.1 * layout.text_size, top + height / 2, name, 90))
    layout.height += height
    if boxes:
        _add_close_ups(layout, row, boxes, lefts, width)
    if row.captions:
        for left, label in zip(lefts, row.panels):
            caption = row.captions.get(label, "")
            layout.write_line(caption, left + width / 2, width)
        layout.height += layout.strip


def _add_close_ups(
    layout: _Layout,
    row: SheetRow,
    boxes: Sequence[Box],
    lefts: Sequence[int],
    width: int,
) -> None:
    """Adds what is in the boxes, each pixel a square, at the layout's present height."""
    room = _room(layout, len(boxes), width)
    zooms = _zooms(boxes, room)
    # What is left over parts several; a single one it leaves in the middle.
    total = sum(zoom * box.width for zoom, box in zip(zooms, boxes))
    spaces = len(boxes) - 1
    parting = (room - total) // (spaces or 2)
    x = layout.line + (0 if spaces else parting)
    top = layout.height + layout.gap + layout.line
    for box, zoom, colour in zip(boxes, zooms, CLOSE_UP_COLOURS):
        for left, panel in zip(lefts, row.panels.values()):
            inside = panel[box.y : box.y + box.height, box.x : box.x + box.width]
            enlarged = inside.repeat(zoom, axis=0).repeat(zoom, axis=1)
            layout.pictures.append((left + x, top, enlarged))
            framed = Box(left + x, top, zoom * box.width, zoom * box.height)
            layout.frames.append((framed, colour))
        x += zoom * box.width + 2 * layout.line + layout.gap + parting
    highest = max(zoom * box.height for box, zoom in zip(boxes, zooms))
    layout.height = top + highest + layout.line


def _zooms(boxes: Sequence[Box], room: int) -> list[int]:
    """By what to enlarge each box: the lowest grow as long as all fit side by side."""
    zooms, grown = [], [1] * len(boxes)
    while sum(zoom * box.width for zoom, box in zip(grown, boxes)) <= room:
        zooms = grown
        heights = [zoom * box.height for zoom, box in zip(zooms, boxes)]
        grown = [
            zoom + (height == min(heights)) for zoom, height in zip(zooms, heights)
        ]
    if not zooms:
        raise ValueError(
            f"Close-ups of {' + '.join(str(box.width) for box in boxes)} pixels do not "
            f"fit side by side under a panel, where {max(room, 0)} are free; take "
            "smaller or fewer."
        )
    return zooms


def _boxes(layout: _Layout, row: SheetRow, width: int) -> Sequence[Box]:
    """The row's close-ups, placed by hand or automatically."""
    if not isinstance(row.close_ups, int):
        return row.close_ups
    if not row.close_ups:
        return ()
    zoom = max(round(_ENLARGEMENT * width / row.width), 1)
    box_width = _room(layout, row.close_ups, width) // row.close_ups // zoom
    compared = [row.panels[label] for label in row.compared or row.panels]
    # One alone, as wide as the panel, is kept from being as high.
    box_height = box_width // 2 if row.close_ups == 1 else 3 * box_width // 4
    size = max(box_width, 1), max(box_height, 1)
    return most_different(compared, row.close_ups, *size)


def _room(layout: _Layout, num_close_ups: int, width: int) -> int:
    """Pixels that the close-ups under a panel can fill from left to right."""
    return width - 2 * layout.line * num_close_ups - layout.gap * (num_close_ups - 1)


def _resized(panel: np.ndarray, width: int, height: int) -> np.ndarray:
    if panel.shape[:2] == (height, width):
        return panel
    image = Image.fromarray(panel)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def _cut(text: str, size: float, width: float) -> str:
    """The text, or as much of it as fits into the width with an ellipsis."""
    if _text_width(text, size) <= width:
        return text
    while text and _text_width(f"{text}…", size) > width:
        text = text[:-1].rstrip()
    return f"{text}…"


def _text_width(text: str, size: float) -> float:
    measure = textpath.text_to_path.get_text_width_height_descent
    width, _, _ = measure(text, _FONT, ismath=False)
    return width * size / _FONT.get_size_in_points()


def _draw(layout: _Layout, *, dpi: float, with_pictures: bool = False) -> figure.Figure:
    """The sheet's frames and writing on a transparent figure, and its pictures."""
    width, height = layout.width, layout.height
    page = figure.Figure((width / dpi, height / dpi), dpi=dpi, facecolor="none")
    axes = page.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for x, y, picture in layout.pictures if with_pictures else ():
        bottom, right = y + picture.shape[0], x + picture.shape[1]
        extent = (x, right, bottom, y)
        axes.imshow(picture, extent=extent, interpolation="none", aspect="auto")
    axes.set(xlim=(0, width), ylim=(height, 0))  # imshow has moved them
    points = 72 / dpi  # in a pixel
    for box, colour in layout.frames:
        # The line runs around the box and covers nothing of it.
        corner = box.x - layout.line / 2, box.y - layout.line / 2
        size = box.width + layout.line, box.height + layout.line
        line = {"edgecolor": colour, "linewidth": layout.line * points}
        frame = patches.Rectangle(corner, *size, fill=False, snap=False, **line)
        axes.add_patch(frame)
    for x, y, text, angle in layout.texts:
        axes.text(
            x,
            y,
            text,
            fontproperties=_FONT,
            fontsize=layout.text_size * points,
            color="black",
            rotation=angle,
            rotation_mode="anchor",
            horizontalalignment="center",
            verticalalignment="baseline",
            parse_math=False,
            usetex=False,
        )
    return page
