"""The choice between JAX and onnxruntime."""

import pytest

from ttl_jax import allocator, derain
from ttl_jax.data.files import decoding, encoding
from ttl_jax.inference import engines
from ttl_jax.lite import onnx_restorer


@pytest.mark.parametrize(
    ("engine", "checkpoint", "on_cpu", "has_onnx", "chosen"),
    [
        ("auto", None, True, True, "onnx"),
        ("auto", "shipped", True, True, "onnx"),
        ("auto", None, False, True, "jax"),
        ("auto", None, True, False, "jax"),
        ("auto", "runs/derain", True, True, "jax"),
        ("auto", "shipped@0.1", True, True, "jax"),
        ("auto", "net.onnx", False, True, "onnx"),
        ("jax", None, True, True, "jax"),
        ("onnx", None, False, True, "onnx"),
    ],
)
def test_engines(monkeypatch, engine, checkpoint, on_cpu, has_onnx, chosen):
    monkeypatch.setattr(allocator, "will_use_cpu", lambda environment: on_cpu)
    monkeypatch.setattr(onnx_restorer, "is_installed", lambda: has_onnx)
    assert engines.choose(engine, checkpoint) == chosen


def test_without_jax_the_shipped_weights_need_no_choice(monkeypatch):
    monkeypatch.setattr(engines, "_JAX", "ttl_jax.inference.missing")
    monkeypatch.setattr(allocator, "will_use_cpu", lambda environment: False)
    assert engines.choose("auto", None) == "onnx"
    with pytest.raises(ValueError, match="runs/derain needs the package ttl_jax;"):
        engines.choose("auto", "runs/derain")


@pytest.mark.parametrize(
    ("engine", "checkpoint", "message"),
    [
        ("onnx", "runs/derain", "export --checkpoint runs/derain --output net.onnx"),
        ("jax", "net.onnx", "JAX does not read net.onnx; use --engine onnx"),
    ],
)
def test_weights_that_an_engine_cannot_read(engine, checkpoint, message):
    with pytest.raises(ValueError, match=message):
        engines.choose(engine, checkpoint)


def test_derain_takes_the_engine(tmp_path, photographs, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(engines, "_JAX", "ttl_jax.inference.missing")
    source, target = photographs / "rainy" / "0.png", tmp_path / "0.png"
    assert derain.main([str(source), str(target), "--engine", "onnx"]) == 0
    image = decoding.read_image(source).array
    expected = onnx_restorer.OnnxRestorer.from_file().restore(image)
    found = decoding.read_image(target).array
    assert (found == encoding.fit(target, expected)).all()
    with pytest.raises(SystemExit):
        derain.main([str(source), str(tmp_path / "1.png"), "--engine", "jax"])
    assert "needs the package ttl_jax" in capsys.readouterr().err
