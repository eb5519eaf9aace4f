"""The package as a wheel, used outside a checkout."""

import os
import pathlib
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder that the wheel is installed in; the dependencies are the environment's."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    source = folder / "source"  # setuptools writes into the folder that it builds
    source.mkdir()
    for name in ("ttl_jax", "configs", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(CHECKOUT / name)
    wheels = folder / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, source], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True
    )
    return folder / "site"


@pytest.fixture
def run(installed, tmp_path):
    """Runs a command in a folder that holds another project's `configs/`."""
    (tmp_path / "configs").mkdir()
    for name in ("__init__.py", "common.py"):
        (tmp_path / "configs" / name).write_text("raise ImportError('not ours')")

    def run(*command):
        return subprocess.run(
            list(map(str, command)),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_configs_are_found_by_command_and_by_script(installed, run):
    script = sys.executable, installed / "bin" / "ttl-jax", "main"
    module = sys.executable, "-m", "ttl_jax.main"
    for command, config in (
        (script, "derain:tiny"),
        (module, "configs/derain.py:tiny"),
    ):
        # The near name comes from the config's fields: it was found and loaded.
        result = run(*command, f"--config={config}", "--config.batch_sise=1")
        assert result.returncode == 1
        assert "did you mean --config.batch_size" in result.stderr, result.stderr
        assert "not ours" not in result.stderr


def test_a_config_and_the_shipped_weights_are_there_from_python(installed, run):
    code = (
        "import ttl_jax; print(ttl_jax.__file__); "
        "print(ttl_jax.config('derain:tiny').encoder.width); "
        "from ttl_jax.weights import shipped; print(shipped.find(None))"
    )
    result = run(sys.executable, "-c", code)
    assert result.returncode == 0, result.stderr
    file, width, weights = result.stdout.split()
    assert file.startswith(str(installed)) and weights.startswith(str(installed))
    assert width == "32"
