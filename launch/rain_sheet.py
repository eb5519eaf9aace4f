"""Draws a contact sheet of rendered rain beside real rain.

    python launch/rain_sheet.py --output sheet.png
    python launch/rain_sheet.py --clean folder:CLEAN --rainy folder:RAINY --output sheet.png

Each row shows one clean photograph: unchanged, in light, medium and heavy rain, and with
the streaks of the heavy rain added to its finished pixels. With --rainy, a photograph of
real rain in another scene follows. All are shown pixel for pixel, cut around the middle.
A source is `sample`, `folder:PATH` or `list:FILE`, as for all commands.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ttl_jax.data.rain import renderer
from ttl_jax.data.sources import source_names
from ttl_jax.reports.sheets import sheets


def cut(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the middle of an image, [*size, 3]; white beyond its border."""
    window = np.full((*size, 3), 255, np.uint8)
    height, width = (min(pair) for pair in zip(size, image.shape, strict=False))
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    row, column = (size[0] - height) // 2, (size[1] - width) // 2
    window[row : row + height, column : column + width] = image[
        top : top + height, left : left + width
    ]
    return window


def rain_on(clean: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns the photograph and its renderings by their labels."""
    panels, longer_side = {"clean": clean}, max(clean.shape)
    for intensity in renderer.INTENSITIES:
        parameters = renderer.draw_parameters(rng, intensity, longer_side=longer_side)
        panels[intensity] = renderer.render(clean, parameters, rng)
    return panels | {f"{intensity}, added": renderer.add(clean, parameters, rng)}


def draw_rows(arguments: argparse.Namespace) -> Iterator[sheets.SheetRow]:
    """Yields the rows of the sheet."""
    rng = np.random.default_rng(arguments.seed)
    photographs: Any = source_names.open_photographs(arguments.clean, "clean")
    clean = rng.permutation(photographs)
    rainy = []
    if arguments.rainy:
        photographs = source_names.open_photographs(arguments.rainy, "rainy")
        rainy = rng.permutation(photographs)
    for i, photograph in enumerate(clean[: arguments.rows]):
        panels = rain_on(photograph.load(), rng)
        if len(rainy):
            panels["rainy"] = rainy[i % len(rainy)].load()
        size = arguments.height, arguments.width
        yield sheets.SheetRow({k: cut(panel, size) for k, panel in panels.items()})


def main() -> None:
    """Draws the rows that the flags describe and writes them as one image."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--clean", default="sample", help="source of photographs; default: %(default)s")
    add("--rainy", help="source of photographs of real rain; default: none")
    add("--output", type=pathlib.Path, required=True, help="PNG or PDF to write")
    add("--rows", type=int, default=6, help="default: %(default)s")
    add("--width", type=int, default=320, help="width of a panel; default: %(default)s")
    add(
        "--height",
        type=int,
        default=240,
        help="height of a panel; default: %(default)s",
    )
    add("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    for name in ("rows", "width", "height"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} is {getattr(arguments, name)}; expected 1 or more.")
    try:
        rows = list(draw_rows(arguments))
        sheets.write_sheet(arguments.output, rows)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(f"{arguments.output}: {len(rows)} rows of {len(rows[0].panels)}")


if __name__ == "__main__":
    main()
