"""Comparison sheets: images in rows, methods in columns, close-ups below each image.

Positions are in pixels of the sheet. In a PNG, images are not scaled, and each pixel of a
close-up becomes a square of whole pixels. Only images whose width differs from that of the
panels are resampled (Lanczos); their close-ups are not. A PDF has the same pixels, with text
and frames as vectors. It is as wide as the text of a page, so text has the same size in
sheets with any number of columns.
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
CLOSE_UP_COLOURS = ("#ff2d2d", "#ffd60a", "#32d74b", "#0a9dff")

_PAGE_WIDTH = 7.0  # inches of the PDF: the text width of two columns
_TEXT_SIZE = 7.0  # points on that page
_FRAME = 0.75  # points on that page
_GAP = 1.5  # points on that page, between panels
_MIN_TEXT_SIZE = 10  # pixels
_ENLARGEMENT = 4  # approximate, of close-ups that are placed automatically
_FONT = font_manager.FontProperties(family="DejaVu Sans")  # matplotlib's own


@dataclasses.dataclass(frozen=True)
class SheetRow:
    """One image and its restorations: a row of a sheet.

    Attributes:
      panels: Images by label of their column, uint8 [H, W, 3], all of one size. All rows
        of a sheet have the same labels in the same order.
      captions: Text below an image, such as its scores, by label.
      name: Text at the left of the row.
      close_ups: Boxes to enlarge below each image, at most one per colour of
        `CLOSE_UP_COLOURS`; or the number of boxes, which are placed where the images
        differ most.
      compared: Labels of the images whose differences decide where close-ups are placed;
        all if empty.

    Raises:
      ValueError: If panels differ in shape, a label is unknown, or a close-up is outside
        the image.
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
        if unknown := {*self.captions, *self.compared} - self.panels.keys():
            names = ", ".join(sorted(unknown))
            raise ValueError(f"A row of {list(self.panels)} has no {names}.")
        if isinstance(self.close_ups, int):
            boxes, count = (), self.close_ups
        else:
            boxes, count = self.close_ups, len(self.close_ups)
        most = len(CLOSE_UP_COLOURS)
        if not 0 <= count <= most:
            raise ValueError(f"A row has 0 to {most} close-ups, not {count}.")
        for box in boxes:
            is_across = 0 <= box.x < box.x + box.width <= self.width
            if not (is_across and 0 <= box.y < box.y + box.height <= self.height):
                raise ValueError(
                    f"The close-up {','.join(map(str, box))} (x, y, width, height) does "
                    f"not fit into the image of {self.width} x {self.height} pixels."
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
    """Returns the rows below each other, under the labels of the columns, on white.

    Labels that are wider than a panel are cut and end in an ellipsis.

    Args:
      rows: At least one row.
      panel_width: Width of each panel, in pixels; by default the largest image width.

    Returns:
      uint8 [H, W, 3].

    Raises:
      ValueError: If there are no rows, their labels differ, or close-ups do not fit.
    """
    # With a power of two, the size of the figure in inches is exact.
    canvas = backend_agg.FigureCanvasAgg(_Page(rows, panel_width, dpi=64).figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_sheet(
    path: str | os.PathLike[str],
    rows: Sequence[SheetRow],
    *,
    panel_width: int | None = None,
) -> None:
    """Writes the sheet as PNG or PDF, by suffix; the same rows give the same bytes.

    An existing file is replaced, and a missing folder created. Arguments are as for
    `make_sheet`.

    Raises:
      ValueError: As for `check_path` and `make_sheet`.
      OSError: If the file cannot be written.
    """
    check_path(path)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".png":
        encoding.write_image(path, make_sheet(rows, panel_width=panel_width))
        return
    # Publishers require TrueType fonts; pictures are embedded one by one, unscaled.
    options: Any = {"pdf.fonttype": 42, "image.composite_image": False}
    with matplotlib.rc_context(options), atomic_files.atomic_file(path) as stream:
        page = _Page(rows, panel_width).figure
        page.savefig(stream, format="pdf", metadata={"CreationDate": None})


def check_path(path: str | os.PathLike[str]) -> None:
    """Checks that a sheet can be written to a path.

    Raises:
      ValueError: If the suffix is not in `SUFFIXES`, the path is a folder, or its folder
        can be neither written nor created.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: a sheet's suffix must be {' or '.join(SUFFIXES)}.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file for the sheet.")
    atomic_files.check_folder(path.parent)


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


class _Page:
    """A sheet, which is drawn from top to bottom; sizes are in pixels.

    Attributes:
      figure: The figure; by default it is as wide as the text of a page.
      panel: Width of each panel.
      lefts: Left side of each column.
      text: Size of the text.
      line: Thickness of the frames.
      gap: Distance between panels.
      y: Height of the part drawn so far.
    """

    def __init__(
        self,
        rows: Sequence[SheetRow],
        panel_width: int | None,
        dpi: float | None = None,
    ):
        labels = _common_labels(rows)
        width = max(row.width for row in rows) if panel_width is None else panel_width
        if width < 1:
            raise ValueError(
                f"A panel of {width} pixels is too narrow; give 1 or more."
            )
        point = len(labels) * width / (72 * _PAGE_WIDTH)  # in pixels, approximately
        self.text = max(_TEXT_SIZE * point, _MIN_TEXT_SIZE)
        captions = [caption for row in rows for caption in row.captions.values()]
        widest = max(
            (_text_width(caption, self.text) for caption in captions), default=0
        )
        if widest > 0.95 * width:  # captions are numbers, which must not be cut
            self.text = max(self.text * 0.95 * width / widest, _MIN_TEXT_SIZE)
        self.line, self.gap = max(round(_FRAME * point), 2), max(round(_GAP * point), 4)
        margin = round(1.5 * self.text) if any(row.name for row in rows) else 0
        self.panel = width
        self.lefts = [margin + i * (width + self.gap) for i in range(len(labels))]
        total_width = self.lefts[-1] + width
        self.dpi = dpi or total_width / _PAGE_WIDTH
        self.figure = figure.Figure(dpi=self.dpi)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.y = 0
        if any(labels):
            self._write_line(labels)
        for i, row in enumerate(rows):
            self.y += self.gap if i else 0
            self._draw_row(row)
        self.figure.set_size_inches(total_width / self.dpi, self.y / self.dpi)
        self.axes.set(xlim=(0, total_width), ylim=(self.y, 0))

    def _draw_row(self, row: SheetRow) -> None:
        """Draws the images, their close-ups and captions."""
        scale = self.panel / row.width
        height = max(round(row.height * scale), 1)
        boxes = self._place_boxes(row)
        for left, panel in zip(self.lefts, row.panels.values()):
            self._show(_resize(panel, self.panel, height), left)
            for box, colour in zip(boxes, CLOSE_UP_COLOURS):
                x, y, right, bottom = (
                    round(scale * side)
                    for side in (box.x, box.y, box.x + box.width, box.y + box.height)
                )
                self._frame(Box(left + x, self.y + y, right - x, bottom - y), colour)
        if row.name:
            middle = 1.1 * self.text, self.y + height / 2
            self._write(row.name, *middle, room=height, angle=90)
        self.y += height
        if boxes:
            self._draw_close_ups(row, boxes)
        if row.captions:
            self._write_line([row.captions.get(label, "") for label in row.panels])

    def _draw_close_ups(self, row: SheetRow, boxes: Sequence[Box]) -> None:
        """Draws the contents of the boxes side by side, enlarged by the same integer."""
        room, total = self._room(len(boxes)), sum(box.width for box in boxes)
        zoom = room // total
        if zoom < 1:
            raise ValueError(
                f"Close-ups of {' + '.join(str(box.width) for box in boxes)} pixels do "
                f"not fit side by side below a panel, which has room for {max(room, 0)}; "
                "use smaller or fewer ones."
            )
        # The remaining space is divided between several close-ups; a single one is centred.
        space = (room - zoom * total) // (len(boxes) - 1 or 2)
        x = self.line + (space if len(boxes) == 1 else 0)
        self.y += self.gap + self.line
        for box, colour in zip(boxes, CLOSE_UP_COLOURS):
            width, height = zoom * box.width, zoom * box.height
            for left, panel in zip(self.lefts, row.panels.values()):
                inside = panel[box.y : box.y + box.height, box.x : box.x + box.width]
                self._show(inside.repeat(zoom, axis=0).repeat(zoom, axis=1), left + x)
                self._frame(Box(left + x, self.y, width, height), colour)
            x += width + 2 * self.line + self.gap + space
        self.y += zoom * max(box.height for box in boxes) + self.line

    def _place_boxes(self, row: SheetRow) -> Sequence[Box]:
        """Returns the close-ups of a row, given or placed automatically."""
        count = row.close_ups
        if not isinstance(count, int):
            return count
        if not count:
            return ()
        zoom = max(round(_ENLARGEMENT * self.panel / row.width), 1)
        width = self._room(count) // count // zoom
        # A single close-up is as wide as the panel, so it is made less high.
        height = width // 2 if count == 1 else 3 * width // 4
        compared = [row.panels[label] for label in row.compared or row.panels]
        return most_different(compared, count, max(width, 1), max(height, 1))

    def _room(self, num_close_ups: int) -> int:
        """Returns the total width of the close-ups below a panel."""
        frames, gaps = 2 * self.line * num_close_ups, self.gap * (num_close_ups - 1)
        return self.panel - frames - gaps

    def _show(self, picture: np.ndarray, x: int) -> None:
        """Draws a picture, unscaled, with its upper left corner at (x, self.y)."""
        # Matplotlib rounds sizes up to whole pixels. Without the margin, rounding errors
        # could stretch a picture by one pixel.
        left, top = x + 1e-4, self.y + 1e-4
        right, bottom = x + picture.shape[1] - 1e-4, self.y + picture.shape[0] - 1e-4
        extent = (left, right, bottom, top)
        self.axes.imshow(picture, extent=extent, interpolation="none", aspect="auto")

    def _frame(self, box: Box, colour: str) -> None:
        """Draws a frame around a box, outside its pixels."""
        corner = box.x - self.line / 2, box.y - self.line / 2
        size = box.width + self.line, box.height + self.line
        frame = patches.Rectangle(corner, *size, fill=False)
        frame.set(edgecolor=colour, linewidth=self.line * 72 / self.dpi, snap=False)
        self.axes.add_patch(frame)

    def _write_line(self, texts: Sequence[str]) -> None:
        """Writes a text below or above each panel."""
        for left, text in zip(self.lefts, texts, strict=True):
            middle = left + self.panel / 2, self.y + 1.1 * self.text
            self._write(text, *middle, room=self.panel)
        self.y += round(1.5 * self.text)

    def _write(
        self, text: str, x: float, y: float, room: float, angle: int = 0
    ) -> None:
        """Writes a text centred at x on the baseline y; it is cut to the width `room`."""
        if _text_width(text, self.text) > room:
            while text and _text_width(f"{text}…", self.text) > room:
                text = text[:-1].rstrip()
            text += "…"
        self.axes.text(
            x,
            y,
            text,
            fontproperties=_FONT,
            fontsize=self.text * 72 / self.dpi,
            color="black",
            rotation=angle,
            rotation_mode="anchor",
            horizontalalignment="center",
            verticalalignment="baseline",
            parse_math=False,
            usetex=False,
        )


def _resize(panel: np.ndarray, width: int, height: int) -> np.ndarray:
    if panel.shape[:2] == (height, width):
        return panel
    image = Image.fromarray(panel)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def _text_width(text: str, size: float) -> float:
    measure = textpath.text_to_path.get_text_width_height_descent
    width, _, _ = measure(text, _FONT, ismath=False)
    return width * size / _FONT.get_size_in_points()
