"""Networks as ONNX and StableHLO, against the networks themselves."""

import functools
import json

import jax
import jax.export
import numpy as np
import pytest

from tests.inference import restorer_test, tiny_networks
from ttl_jax import export, models
from ttl_jax.inference import exporting, windows
from ttl_jax.web import site

pytest.importorskip("onnx")
pytest.importorskip("flatbuffers")
onnxruntime = pytest.importorskip("onnxruntime")

LOCAL = {"attention_cell": 16, "attention_radius": 1}  # a grid of 16 pixels


def save_run(folder, **fields):
    encoder = functools.partial(restorer_test.MODULES["encoder"], **LOCAL | fields)
    decoder = functools.partial(restorer_test.MODULES["decoder"], pools=(8, 4))
    networks = restorer_test.save_run(folder, {"encoder": encoder, "decoder": decoder})
    return networks["encoder"], networks["decoder"]


def open_onnx(made):
    session = onnxruntime.InferenceSession(made.content)
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})[0]


def random_images(*shape):
    return np.random.default_rng(0).random((*shape, 3), np.float32)


OTHER_FORM = {
    "stem_stride": 1,
    "per_channel_scale": True,
    "final_norm": False,
    "attention_cell": 32,
    "attention_radius": 2,
}


@pytest.mark.parametrize("fields", [{}, OTHER_FORM], ids=["usual", "other"])
def test_onnx_restores_windows_of_any_size(tmp_path, monkeypatch, fields):
    monkeypatch.setattr(exporting, "_compare", lambda *_: 0.0)  # this test's purpose
    if fields:
        decoder = functools.partial(models.make_image_decoder, width=8, stem_stride=1)
        monkeypatch.setitem(restorer_test.MODULES, "decoder", decoder)
    networks = save_run(tmp_path / "run", **fields)
    restore = open_onnx(exporting.make(str(tmp_path / "run"), ".onnx"))
    sizes = [(192, 160)] if fields else [(16, 128), (96, 80)]
    for height, width in sizes:
        images = random_images(2, height, width)
        expected = [tiny_networks.apply(*networks, image) for image in images]
        assert np.abs(expected - images).max() > 0.01
        np.testing.assert_allclose(restore(images), expected, atol=1e-5)


def test_half_precision_is_half_the_size_and_near(tmp_path):
    networks = save_run(tmp_path / "run")
    run = str(tmp_path / "run")
    one = exporting.make(run, ".onnx", side=80)
    half = exporting.make(run, ".onnx", side=80, precision="fp16")
    assert len(half.content) < len(one.content)
    assert one.difference < 1e-5 < half.difference < 1e-2
    images = random_images(1, 80, 64)
    expected = tiny_networks.apply(*networks, images[0])
    restored = open_onnx(half)(images)[0]
    np.testing.assert_allclose(restored, expected, atol=1e-2)


@pytest.mark.parametrize(
    "precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]
)
def test_stablehlo_restores_any_number_of_windows(tmp_path, monkeypatch, precision):
    monkeypatch.setattr(windows, "OVERLAP", 16)  # allows for small windows
    networks = save_run(tmp_path / "run")
    path = tmp_path / "net.stablehlo"
    run = str(tmp_path / "run")
    made = exporting.make(run, ".stablehlo", side=70, precision=precision)
    exporting.write(made, path)
    program = jax.export.deserialize(bytearray(path.read_bytes()))
    assert program.platforms == ("cpu", "cuda")
    for number in (1, 3):
        images = random_images(number, 64, 64)  # 70 rounded down to the grid
        expected = [tiny_networks.apply(*networks, image) for image in images]
        tolerance = 1e-5 if precision == "fp32" else 1e-2
        np.testing.assert_allclose(program.call(images), expected, atol=tolerance)
    metadata = json.loads((tmp_path / "net.stablehlo.json").read_text())
    assert metadata["window"] == 64 and metadata["value_range"] == [0, 1]


@pytest.mark.parametrize(("side", "window"), [(600, 592), (100, 576)])
def test_metadata_describe_the_windows_and_the_weights(
    tmp_path, monkeypatch, side, window
):
    monkeypatch.setattr(exporting, "_compare", lambda *_: 0.0)
    save_run(tmp_path / "run")
    made = exporting.make(str(tmp_path / "run"), ".onnx", side=side)
    for rows, count in ((window, 1), (window + 16, 2)):
        assert len(windows.plan(rows, window, grid=16, side=side)) == count
    session = onnxruntime.InferenceSession(made.content)
    texts = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(text) for key, text in texts.items()} == {
        "window": window, "margin": 192, "grid": 16, "value_range": [0, 1], "step": 3,
        "precision": "fp32", "name": "run", "digest": made.metadata["digest"],
    }  # fmt: skip


def test_a_file_that_differs_from_the_network_is_refused(tmp_path, monkeypatch):
    save_run(tmp_path / "run")
    make = exporting._make_onnx

    def make_wrong(*arguments):
        content, restore = make(*arguments)
        return content, lambda images: restore(images) + 0.001

    _, sizes = exporting._FORMATS[".onnx"]
    monkeypatch.setitem(exporting._FORMATS, ".onnx", (make_wrong, sizes))
    with pytest.raises(ValueError, match=r"would differ from run by 0\.001 of 1"):
        exporting.make(str(tmp_path / "run"), ".onnx", side=80)


@pytest.mark.parametrize(
    ("fields", "suffix", "message"),
    [
        ({"attention_cell": 0}, "onnx", "needs the whole image at once"),
        ({"global_branch": "window"}, "onnx", "ONNX needs channel attention.*Window"),
        ({}, "onxx", "unknown format '.onxx'; the file must end in .onnx or"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, fields, suffix, message):
    save_run(tmp_path / "run", **fields)
    with pytest.raises(ValueError, match=message):
        exporting.make(str(tmp_path / "run"), f".{suffix}")


def test_the_command_prints_the_difference_and_keeps_an_earlier_file(tmp_path, capsys):
    save_run(tmp_path / "run")
    path = tmp_path / "new" / "net.onnx"
    command = ["--checkpoint", str(tmp_path / "run"), "--output", str(path)]
    assert export.main([*command, "--window", "576"]) == 0
    assert "Largest difference from the network: " in capsys.readouterr().out
    content = path.read_bytes()
    with pytest.raises(SystemExit) as ended:
        export.main(command)
    assert ended.value.code == 2 and path.read_bytes() == content
    assert "--overwrite replaces it" in capsys.readouterr().err


def test_a_window_below_three_overlaps_is_refused(capsys):
    assert export._LEAST_WINDOW == 3 * windows.OVERLAP
    with pytest.raises(SystemExit, match="2"):
        export.main(["--output", "net.stablehlo", "--window", "64"])
    assert "expected an integer from 576, not '64'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["net.stablehlo", "net.stablehlo.json"])
def test_both_files_of_stablehlo_are_kept(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setattr(exporting, "make", None)  # must not be called
    (tmp_path / name).write_text("earlier")
    with pytest.raises(SystemExit, match="2"):
        export.main(["--output", str(tmp_path / "net.stablehlo")])
    assert f"{name} exists already; --overwrite" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == "earlier"


@pytest.mark.parametrize("flag", ["--output=file/net.onnx", "--page=file/site"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    tmp_path, monkeypatch, capsys, flag
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(exporting, "make", None)  # must not be called
    monkeypatch.setattr(site, "load_runtime", None)
    with pytest.raises(SystemExit, match="2"):
        export.main([flag])
    assert "file: Not a directory" in capsys.readouterr().err
