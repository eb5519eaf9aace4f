"""The command that draws protocols and compares sources, as a user runs it."""

import json

import numpy as np
import pytest
from PIL import Image

from ttl_jax import prepare
from ttl_jax.data.sets import audit, protocols
from ttl_jax.data.sources import source_names


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Two photographs to train on, and half of one of them, mirrored, to test on."""
    root = tmp_path_factory.mktemp("album")
    originals = source_names.open_photographs("sample/test", "clean")
    for name in ("train", "test"):
        (root / name).mkdir()
    for i, original in enumerate(originals):
        Image.fromarray(original.load()).save(root / "train" / f"{i}.png")
    mirrored = Image.fromarray(np.ascontiguousarray(originals[1].load()[:, ::-1]))
    mirrored.reduce(2).save(root / "test" / "copy.jpg")
    return root


def test_audit_writes_what_to_exclude(album, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(album)
    train, test = "folder:train", "folder:test"
    output = tmp_path / "found"
    assert (
        prepare.main(["audit", train, "--against", test, "--output", str(output)]) == 0
    )
    lines = (output / "exclude.txt").read_text().splitlines()
    assert [line for line in lines if line[0] != "#"] == [f"{album}/train/1.png"]
    assert "1 pairs show the same picture" in capsys.readouterr().out
    assert len(json.loads((output / "audit.json").read_text())["groups"]) == 1


def test_a_protocol_is_printed_written_and_read_as_a_source(
    album, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(album)
    output = tmp_path / "lists" / "list.txt"  # whose folder is made
    arguments = ["--protocol", "realrain_train", "--set", "realrain=folder:train"]
    assert prepare.main([*arguments, "--print", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert output.read_text() in printed
    found = source_names.open_photographs(f"selection:{output}", "rainy")
    assert [item.name for item in found] == [
        f"{album}/train/{line}"
        for line in output.read_text().splitlines()
        if line[0] not in "#["
    ]
    assert found


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("train", "is a folder; name a text file"),
        ("train/0.png/list.txt", "train/0.png cannot hold the output"),
    ],
)
def test_an_output_is_checked_before_a_protocol_is_drawn(
    album, monkeypatch, output, message, capsys
):
    monkeypatch.chdir(album)
    arguments = ["--protocol", "realrain_train", "--set", "realrain=folder:train"]
    monkeypatch.setattr(protocols, "select", None)
    with pytest.raises(SystemExit):
        prepare.main([*arguments, "--output", output])
    assert message in capsys.readouterr().err


def test_the_folder_of_an_audit_is_checked_before_images_are_read(
    album, monkeypatch, capsys
):
    monkeypatch.chdir(album)
    monkeypatch.setattr(audit, "run", None)
    with pytest.raises(SystemExit):
        prepare.main(["audit", "folder:train", "--output", "train/0.png"])
    assert "train/0.png cannot hold the output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "test4"], "Unknown protocol 'test4'"),
        (["--protocol", "test1", "--data_dir", "x"], "does not use --data_dir; it"),
        (
            ["spa", "--protocol", "test1"],
            "--protocol does not use SET; it uses --print",
        ),
        (["--protocol", "test3", "--set", "spa"], "expected SET=SOURCE, not 'spa'"),
        (["audit"], "required: SOURCE"),
        (["audit", "folder:not_there"], "there is no folder not_there"),
    ],
)
def test_an_invalid_protocol_or_audit_gives_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as error:
        prepare.main(arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
