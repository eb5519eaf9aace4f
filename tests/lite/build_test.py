"""The package without JAX: from its source, and as a wheel in an environment of its own."""

import os
import pathlib
import subprocess
import sys
import venv

import numpy as np
import pytest

import ttl_jax
from launch import build_lite
from tests import pictures
from ttl_jax import lite
from ttl_jax.data.files import decoding, encoding

ROOT = pathlib.Path(__file__).parents[2]
MISSING = ("absl", "flax", "jax", "scipy", "ttl_jax")


def test_its_source_restores_without_jax(tmp_path):
    pytest.importorskip("onnxruntime")
    build_lite.write_source(tmp_path)
    image = pictures.noise(70, 90, 4)  # with hidden pixels
    image[20:50, 30:60, 3] = 0
    encoding.write_image(tmp_path / "a.png", image)
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({MISSING}));"
        "from ttl_jax_lite import derain; sys.exit(derain.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "a.png", "--output", "out"]
    for extra in (), ("--compare", "html", "--overwrite"):
        subprocess.run([*command, *extra], cwd=tmp_path, check=True)
    restored = decoding.read_image(tmp_path / "out" / "a.png").array
    np.testing.assert_array_equal(restored, lite.load().restore(image))
    # Either package knows what the other one has done.
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [".ttl_jax.jsonl", "a.png", "a.png.compare.html"]


def test_a_file_that_imports_jax_is_refused(monkeypatch):
    monkeypatch.setattr(build_lite, "LEFT_OUT", ())
    with pytest.raises(ValueError, match=r"imports \w+.*, which lite does not have"):
        build_lite.find_modules()


@pytest.mark.slow
def test_the_wheel_restores_as_the_full_package(tmp_path):
    build = [sys.executable, ROOT / "launch/build_lite.py", "--output", tmp_path]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    subprocess.run([python, "-m", "pip", "--quiet", "install", wheel], check=True)
    listed = [python, "-m", "pip", "list", "--format=freeze"]
    packages = subprocess.run(listed, check=True, capture_output=True, text=True).stdout
    assert "jax=" not in packages and "scipy" not in packages
    # 16 bits, to see differences far below a level of 8 bits.
    image = pictures.noise(150, 200, 3).astype(np.uint16) * 257
    encoding.write_image(tmp_path / "a.png", image)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [folder / "bin/ttl-jax-lite", "a.png", "b.png"]
    subprocess.run(command, cwd=tmp_path, check=True, env=environment)
    restored = decoding.read_image(tmp_path / "b.png").array / 65535
    expected = ttl_jax.load().restore(image) / 65535
    np.testing.assert_allclose(restored, expected, atol=1e-3)
