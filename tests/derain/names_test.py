"""Restoring one photograph to a name, or from and to standard streams."""

import pathlib
import sys
import types

import pytest

from tests.derain import photographs
from ttl_jax import derain
from ttl_jax.data.files import decoding


def test_one_photograph_goes_to_the_name_given(loaded, capsys):
    photographs.write("a.png", 1)
    assert derain.main(["a.png", "deep/b.tif"]) == 0
    assert photographs.levels(".") == {"a.png": 1, "deep/b.tif": 254}
    with pytest.raises(SystemExit):
        derain.main(["a.png", "deep/b.tif"])
    assert "deep/b.tif exists; --overwrite replaces it" in capsys.readouterr().err
    photographs.write("a.png", 2)
    assert derain.main(["a.png", "deep/b.tif", "--overwrite"]) == 0
    assert photographs.levels("deep") == {"b.tif": 253}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png"], "name a folder by --output DIR"),
        (["a.png", "b.png", "c.png"], "name a folder by --output DIR"),
        (["gone.png", "b.png"], "gone.png does not exist"),
        (["folder", "b.png"], "folder is a folder; name a photograph"),
        (["a.png", "folder"], "folder is a folder; use --output folder"),
        (["a.png", "a.png"], "a.png is the photograph itself"),
        (["a.png", "./a.png"], "a.png is the photograph itself"),
        (["a.png", "b.mp4"], "unknown suffix '.mp4'"),
        (["a.png", "b.png", "--format", "tiff"], "b.png and --format tiff differ"),
        (["a.png", ""], "A path is empty"),
        (["a.png", "b.png", "--suffix", "_x"], "--suffix and --watch need --output"),
    ],
)
def test_invalid_input_and_output_names_are_reported(
    loaded, capsys, arguments, message
):
    photographs.write("a.png", 1)
    pathlib.Path("folder").mkdir()
    with pytest.raises(SystemExit) as caught:
        derain.main(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err
    assert photographs.levels(".") == {"a.png": 1}


def test_standard_input_and_output_replace_files(loaded, monkeypatch, capfdbinary):
    photographs.write("a.tif", 1)
    with open("a.tif", "rb") as file:
        monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=file))
        assert derain.main(["-", "-", "--format", "png"]) == 0
    out = capfdbinary.readouterr().out
    assert decoding.decode_rgb8(out, "standard output").max() == 254
