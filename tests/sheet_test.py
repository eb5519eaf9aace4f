"""The command that draws comparison sheets."""

import numpy as np
import pytest
from PIL import Image

from ttl_jax import sheet
from ttl_jax.data.files import encoding
from ttl_jax.reports import examples
from ttl_jax.reports.sheets import comparisons, sheets

FOLDERS = "--results ours=ours --results other=other --input input"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the images a and b, as four folders hold them."""
    monkeypatch.chdir(tmp_path)
    for k, folder in enumerate(("ours", "other", "input", "target")):
        (tmp_path / folder).mkdir()
        for i, name in enumerate("ab"):
            rng = np.random.default_rng((k, i))
            picture = rng.integers(0, 256, (60, 80, 3), np.uint8)
            encoding.write_image(tmp_path / folder / f"{name}.png", picture)
    return tmp_path


def run(command):
    return sheet.main(command.split())


def open_folders(target):
    """What the commands' folders hold."""
    results = [("ours", "ours"), ("other", "other")]
    subjects, methods, _ = examples.open_folders("input", target, results)
    return examples.Examples(subjects, methods)


def read(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_pairs_are_drawn_as_the_library_draws_them(here, capsys):
    command = f"{FOLDERS} --target target --images b a --close_ups 1 --names"
    assert run(f"{command} --output s.png") == 0
    assert capsys.readouterr().out == "s.png: 2 rows of 4 images\n"
    found = open_folders("target").pick(["b", "a"])
    rows = comparisons.make_rows(found, close_ups=1, with_names=True)
    np.testing.assert_array_equal(read("s.png"), sheets.make_sheet(rows))


def test_partners_with_other_names_are_reported(here, capsys):
    for name in "ab":
        (here / "ours" / f"{name}.png").rename(here / "ours" / f"{name}_derained.png")
    run(f"{FOLDERS} --images b --output s.png")
    told, drawn = capsys.readouterr().out.splitlines()
    assert told.startswith(
        "ours: 2 of 2 files matched without the common parts of their names"
    )
    assert drawn == "s.png: 1 rows of 3 images"


def test_real_rain_needs_no_target(here):
    run(f"{FOLDERS} --images a --output s.png")
    pixels = read("s.png")
    np.testing.assert_array_equal(pixels[-60:, :80], read("input/a.png"))
    np.testing.assert_array_equal(pixels[-60:, -80:], read("other/a.png"))


def test_boxes_are_placed_by_image(here):
    both = "--close_up 10,10,20,12 --close_up b:40,30,20,12"
    run(f"{FOLDERS} --images a b {both} --output s.png")
    boxes = {"": [(10, 10, 20, 12)], "b": [(40, 30, 20, 12)]}
    boxes = {name: [sheets.Box(*box) for box in of] for name, of in boxes.items()}
    rows = comparisons.make_rows(open_folders(None).pick(["a", "b"]), close_ups=boxes)
    assert [len(row.close_ups) for row in rows] == [1, 2]
    np.testing.assert_array_equal(read("s.png"), sheets.make_sheet(rows))


def test_the_suffix_says_the_format_and_the_width_the_scale(here):
    run(f"{FOLDERS} --images a --output s.pdf")
    assert (here / "s.pdf").read_bytes().startswith(b"%PDF")
    run(f"{FOLDERS} --images a --panel_width 40 --output s.png")
    assert 3 * 40 < read("s.png").shape[1] < 3 * 50


def test_a_missing_folder_is_created(here):
    assert run(f"{FOLDERS} --images a --output new/deep/s.png") == 0
    assert read("new/deep/s.png").shape[1] > 3 * 80


@pytest.mark.parametrize("output", ["folder.png", "input/a.png/s.png"])
def test_an_output_that_cannot_be_written_is_named_before_anything_is_drawn(
    output, here, capsys, monkeypatch
):
    (here / "folder.png").mkdir()
    monkeypatch.setattr(comparisons, "make_rows", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(SystemExit):
        run(f"{FOLDERS} --images a --output {output}")
    line = capsys.readouterr().err
    assert output.removesuffix("/s.png") in line and "partial" not in line


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"{FOLDERS} --images a --output s.jpg", ".png or .pdf"),
        (f"{FOLDERS} --images aa --output s.png", "no image 'aa'"),
        ("--results ours --input input --images a --output s.png", "NAME=DIR"),
        ("--results ours=none --input input --images a --output s.png", "none"),
        (f"{FOLDERS} --images a --close_up 1,2,3 --output s.png", "not '1,2,3'"),
        (f"{FOLDERS} --images a --close_up 70,0,20,9 --output s.png", "80 x 60"),
        (
            f"{FOLDERS} --images a --close_up c:0,0,9,9 --output s.png",
            "is for 'c'",
        ),
        (f"{FOLDERS} --images a --close_ups 0 --output s.png", "from 1, not '0'"),
        (f"{FOLDERS} --images a --close_ups 9 --output s.png", "0 to 4"),
        (
            f"{FOLDERS} --images a --close_ups 1 --close_up 1,1,9,9 --output s.png",
            "not allowed with",
        ),
        (f"{FOLDERS} --images a --protocol y --output s.png", "y_uint8"),
    ],
)
def test_invalid_commands_end_with_one_line_and_status_2(
    here, capsys, command, message
):
    with pytest.raises(SystemExit) as caught:
        run(command)
    assert caught.value.code == 2
    line = capsys.readouterr().err.split("python -m ttl_jax.sheet: error: ")[1]
    assert message in line and line.count("\n") == 1
    assert not list(here.glob("s.*"))
