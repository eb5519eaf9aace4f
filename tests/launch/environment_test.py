"""launch/environment.sh: a virtual environment is installed once."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[2]


# Stands for Python, pip and uv in launch/environment.sh: it records its arguments.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >>calls.txt
if [ "$2" = venv ]; then
  mkdir -p .venv/bin
  cp "$0" .venv/bin/python && cp "$0" .venv/bin/uv && touch .venv/bin/activate
fi
case "$*" in *--editable*) [ ! -e full ];; esac
"""


@pytest.fixture
def install(tmp_path):
    """Returns a function that makes the environment, and returns what is installed."""
    (tmp_path / "pyproject.toml").touch()
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    script = (
        f"set -euo pipefail; source {ROOT}/launch/environment.sh; make_environment "
    )

    def make(mode, extra="", status=0):
        (tmp_path / "calls.txt").write_text("")
        result = subprocess.run(
            ["bash", "-c", script + extra],
            cwd=tmp_path,
            env={**os.environ, "PYTHON": str(python), "DEPENDENCIES": mode},
            capture_output=True,
            check=False,
        )
        assert result.returncode == status, result.stderr
        calls = (tmp_path / "calls.txt").read_text().splitlines()
        return [call for call in calls if "--editable" in call]

    return make


def test_another_mode_installs_all_packages_again(install):
    eager = "--upgrade --upgrade-strategy eager --editable"
    (call,) = install("highest", "test")
    assert call.endswith(f"{eager} .[test]")
    assert install("highest") == install("highest", "test") == []
    (call,) = install("lowest")  # also those of the extra
    assert call.endswith("--resolution lowest-direct --upgrade --editable .[test]")
    assert install("lowest", "test") == []
    (call,) = install("highest", "serve")
    assert call.endswith(f"{eager} .[test,serve]")


def test_an_environment_is_installed_again_after_a_failure_or_a_change(
    install, tmp_path
):
    assert len(install("highest")) == 1
    (tmp_path / "full").touch()
    assert len(install("lowest", status=1)) == 1
    (tmp_path / "full").unlink()
    assert len(install("highest")) == 1 and not install("highest")
    (tmp_path / "pyproject.toml").write_text("# another version")
    assert len(install("highest")) == 1
