"""The command that compares real with synthetic rain."""

import json
import os
import pathlib
import sys
import types

import numpy as np
import pytest

from tests import pictures
from ttl_jax import analyze, inference
from ttl_jax.reports.rain_analysis import rain_sets


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder with photographs with and without rain, and pairs."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        clean = pictures.texture(i, 200, 200)
        for folder, image in {
            "rainy": pictures.texture(10 + i, 200, 200),
            "dry": clean,
            "pairs/clean": clean,
            "pairs/rainy": pictures.add_noise(clean, 20),
        }.items():
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            pictures.write(pathlib.Path(folder, f"{i}.png"), image)
    return tmp_path


COMMAND = "--real rainy --synthetic noise=pairs --side 192 --output out"


def test_sets_are_compared_and_the_report_is_named(here, capsys):
    command = f"{COMMAND} --synthetic rendered=rain:folder:dry --clean dry --images 3"
    assert analyze.main(command.split()) == 0
    analysis = json.loads(pathlib.Path("out/analysis.json").read_text())
    assert [(one["name"], one["kind"]) for one in analysis["sets"]] == [
        ("rainy", "real"),
        ("noise", "synthetic"),
        ("rendered", "synthetic"),
        ("clean", "clean"),
    ]
    assert {(one["found"], one["images"]) for one in analysis["sets"]} == {(4, 3)}
    printed = capsys.readouterr().out
    assert "noise: 3 images, 3 scenes, 0 excluded; NIQE rainy" in printed
    assert "out/analysis.md" in printed
    assert pathlib.Path("out/analysis.md").is_file()


def test_every_flag_is_used_in_the_analysis(here):
    pathlib.Path("s.csv").write_text("path,scene\nrainy/0.png,a\nrainy/1.png,a\n")
    command = "--side 194 --quality 60 --seed 5 --images 9 --scenes s.csv"
    assert analyze.main(f"{COMMAND} {command}".split()) == 0
    analysis = json.loads(pathlib.Path("out/analysis.json").read_text())
    expected = {"side": 194, "quality": 60, "seed": 5, "num_images": 9}
    expected["scenes"] = "s.csv"
    assert expected.items() <= analysis["settings"].items()
    assert "NIQE" in analysis["settings"]["features"]
    assert analysis["sets"][0]["scenes"] == 3
    assert "one scene in s.csv" in pathlib.Path("out/analysis.md").read_text()


def test_features_of_a_checkpoint_are_used_and_named(here, monkeypatch):
    class Encoder:
        description = "greys of run"

        @classmethod
        def from_checkpoint(cls, path):
            assert path == "run"
            return cls()

        def embed(self, image):
            return np.array([image.mean(), image.std()])

    module = types.ModuleType("ttl_jax.inference.encoder")
    module.Encoder = Encoder
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(inference, "encoder", module, raising=False)
    command = f"{COMMAND} --features encoder --checkpoint run"
    assert analyze.main(command.split()) == 0
    analysis = json.loads(pathlib.Path("out/analysis.json").read_text())
    assert analysis["settings"]["features"] == "greys of run"
    assert "greys of run" in pathlib.Path("out/analysis.md").read_text()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--synthetic pairs", "--real"),
        ("--real rainy", "--synthetic"),
        ("--real rainy --synthetic rainy", "rainy: more than one set has this name"),
        ("--real rainy --synthetic pairs --side 100", "NIQE needs 192"),
        ("--real rainy --synthetic pairs --seed -1", "an integer from 0, not '-1'"),
        ("--real rainy --synthetic pairs --features encoder", "go together"),
        ("--real rainy --synthetic pairs --checkpoint run", "go together"),
        (
            "--real rainy --synthetic pairs --features encoder --checkpoint missing",
            "missing holds no checkpoint",
        ),
        ("--real broken --synthetic pairs", "broken/0.png cannot be read"),
    ],
)
def test_invalid_commands_end_with_one_line_and_status_2(
    here, capsys, command, message
):
    pathlib.Path("broken").mkdir()
    pathlib.Path("broken/0.png").write_bytes(b"no picture")
    with pytest.raises(SystemExit) as caught:
        analyze.main([*command.split(), "--output", "out"])
    assert caught.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert message in last
    assert not pathlib.Path("out").exists()


def test_a_set_of_small_photographs_is_named_before_anything_is_measured(
    here, capsys, monkeypatch
):
    pictures.write(pathlib.Path("rainy/0.png"), pictures.texture(0, 260, 260))
    monkeypatch.setattr(rain_sets, "_measure", lambda *_, **__: pytest.fail("measured"))
    with pytest.raises(SystemExit):
        analyze.main(f"{COMMAND} --side 250".split())
    line = capsys.readouterr().err
    assert "No image of noise can be measured" in line and "0.png is 200x200" in line


def test_an_invalid_output_is_reported_before_anything_is_measured(
    here, capsys, monkeypatch
):
    pathlib.Path("out").touch()
    monkeypatch.setattr(rain_sets, "measure_all", lambda *args, **options: 1 / 0)
    with pytest.raises(SystemExit):
        analyze.main(COMMAND.split())
    assert "out" in capsys.readouterr().err


def test_folders_whose_names_are_not_utf8_are_analyzed(here, capsys):
    folder = os.fsdecode(b"caf\xe9")
    pathlib.Path("rainy").rename(folder)
    command = ["--real", folder, *COMMAND.split()[2:-1], f"{folder}/out"]
    assert analyze.main(command) == 0
    report = pathlib.Path(folder, "out/analysis.md").read_text()
    assert "caf\ufffd" in report
    assert "See caf\ufffd/out" in capsys.readouterr().out


@pytest.mark.slow  # `analyzer_test` checks the sign of the damage on small images
@pytest.mark.skipif("TTL_DATA" not in os.environ, reason="needs photographs: TTL_DATA")
def test_heavy_rain_damages_photographs_more_than_light_rain(tmp_path):
    root = pathlib.Path(os.environ["TTL_DATA"])
    command = [
        *("--real", f"folder:{root}/real_rain/real147"),
        *("--synthetic", f"heavy=folder:{root}/paired/Rain100H/test"),
        *("--synthetic", f"light=folder:{root}/paired/Rain100L/test"),
        *("--images", "12", "--output", str(tmp_path / "out")),
    ]
    assert analyze.main(command) == 0
    analysis = json.loads((tmp_path / "out/analysis.json").read_text())
    for numbers in analysis["forms"].values():
        heavy, light = (numbers["sets"][n]["damage"] for n in ("heavy", "light"))
        assert 0 < light["low"] < light["high"] < heavy["low"]
