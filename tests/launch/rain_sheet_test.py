"""launch/rain_sheet.py: rendered rain beside real rain."""

import numpy as np
import pytest
from PIL import Image

from launch import rain_sheet
from tests import commands


def test_a_rain_sheet_shows_each_rain_beside_the_clean_photograph(tmp_path):
    clean, rainy, sheet = tmp_path / "clean", tmp_path / "rainy", tmp_path / "s.png"
    for folder, size, level in ((clean, 90, 100), (rainy, 20, 200)):
        folder.mkdir()
        for i in range(3):
            level += 5
            picture = np.full((size, size, 3), level, np.uint8)
            Image.fromarray(picture).save(folder / f"{i}.png")
    flags = ("--clean", f"folder:{clean}", "--rainy", f"folder:{rainy}", "--rows", "2")
    size = ("--width", "40", "--height", "30")
    commands.call(rain_sheet, *flags, *size, "--output", sheet)
    pixels = np.asarray(Image.open(sheet))
    # Six panels with gaps of 4; the labels above are as high as a font of 10 needs.
    assert pixels.shape == (15 + 30 + 4 + 30, 6 * 44 - 4, 3)
    panels = [pixels[15:45, 44 * i : 44 * i + 40] for i in range(6)]
    assert np.ptp(panels[0]) == 0 and 100 < panels[0][0, 0, 0] < 120
    for i, rendered in enumerate(panels[1:5], 1):
        assert np.any(rendered != panels[0]), i
    rainy_panel = panels[5]
    assert np.all(rainy_panel[0] == 255) and 200 < rainy_panel[15, 20, 0] < 220


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--clean folder:nowhere --output s.png", "there is no folder nowhere"),
        ("--clean folder:nowhere --output s.xyz", "s.xyz: a sheet's suffix must be"),
        (f"--clean folder:nowhere --output {__file__}/s.png", "_test.py cannot hold"),
        ("--rows 0 --output s.png", "2"),
    ],
)
def test_a_rain_sheet_of_nothing_is_rejected_in_one_line(flags, message):
    with pytest.raises(SystemExit, match=message):
        commands.call(rain_sheet, *flags.split())
