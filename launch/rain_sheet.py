"""Draws a contact sheet of rendered rain beside real rain.

    python launch/rain_sheet.py --output sheet.png
    python launch/rain_sheet.py --clean folder:CLEAN --rainy folder:RAINY --output sheet.png
    python launch/rain_sheet.py --kinds --clean folder:CLEAN --output kinds.png

Each row shows one clean photograph: unchanged, in light, medium and heavy rain, and
with the streaks of the heavy rain added to its pixel values. With --kinds, it shows the
kinds of rain that published pairs lack instead. With --rainy, a photograph of real rain
in another scene follows. Each panel shows the middle of an image, unscaled.
A source is `sample`, `folder:PATH` or `list:FILE`, as for all commands.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image

from ttl_jax import command_line
from ttl_jax.data.rain import rain_kinds, renderer
from ttl_jax.data.sources import source_names
from ttl_jax.reports.sheets import sheets


def cut(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the middle of an image, [height, width, 3]; white beyond its border."""
    window = Image.new("RGB", (width, height), "white")
    place = (width - image.shape[1]) // 2, (height - image.shape[0]) // 2
    window.paste(Image.fromarray(image), place)
    return np.asarray(window)


def rain_on(clean: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns the clean photograph and its renderings, by label."""
    panels, longer_side = {"clean": clean}, max(clean.shape)
    for intensity in renderer.INTENSITIES:
        parameters = renderer.draw_parameters(rng, intensity, longer_side=longer_side)
        panels[intensity] = renderer.render(clean, parameters, rng)
    return panels | {f"{intensity}, added": renderer.add(clean, parameters, rng)}


def kinds_on(clean: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns the clean photograph and one rendering of each kind, by label."""
    panels, longer_side = {"clean": clean}, max(clean.shape)
    for kind in rain_kinds.KINDS:
        parameters = rain_kinds.draw_parameters(rng, kind, longer_side=longer_side)
        panels[kind] = renderer.render(clean, parameters, rng)
    return panels


def draw_rows(args: argparse.Namespace) -> Iterator[sheets.SheetRow]:
    """Yields the rows of the sheet."""
    rng = np.random.default_rng(args.seed)
    clean = source_names.open_photographs(args.clean, "clean")
    rng.shuffle(clean)
    rainy = source_names.open_photographs(args.rainy, "rainy") if args.rainy else []
    rng.shuffle(rainy)
    for i, photograph in enumerate(clean[: args.rows]):
        draw = kinds_on if args.kinds else rain_on
        panels = draw(photograph.load(), rng)
        if rainy:
            panels["rainy"] = rainy[i % len(rainy)].load()
        yield sheets.SheetRow(
            {
                name: cut(panel, args.height, args.width)
                for name, panel in panels.items()
            }
        )


def main() -> None:
    """Draws the rows that the flags describe and writes them as one image."""
    parser = command_line.make_parser("launch.rain_sheet", __doc__)
    positive = command_line.count(1)
    # fmt: off
    add = parser.add_argument
    add("--clean", default="sample", help="source of photographs; default: %(default)s")
    add("--rainy", help="source of photographs of real rain; default: none")
    add("--kinds", action="store_true", help="show the kinds of rain that pairs lack")
    add("--output", type=pathlib.Path, required=True, help="PNG or PDF to write")
    add("--rows", type=positive, default=6, help="number of rows; default: %(default)s")
    add("--width", type=positive, default=320,
        help="width of a panel, in pixels; default: %(default)s")
    add("--height", type=positive, default=240,
        help="height of a panel, in pixels; default: %(default)s")
    add("--seed", type=int, default=0, help="seed of photographs and rain; default: %(default)s")
    # fmt: on
    args = parser.parse_args()
    try:
        sheets.check_path(args.output)
        rows = list(draw_rows(args))
        sheets.write_sheet(args.output, rows)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    print(f"{args.output}: {len(rows)} rows of {len(rows[0].panels)}")


if __name__ == "__main__":
    main()
