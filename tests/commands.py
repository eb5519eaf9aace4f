"""Commands of the package: as processes, and `ttl_jax.main` in this process."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import warnings

import jax
import pytest
from absl import flags

from ttl_jax import main

ROOT = pathlib.Path(__file__).parents[1]


def command(module, *arguments):
    return [sys.executable, "-m", f"ttl_jax.{module}", *map(str, arguments)]


def run(module, *arguments, status=0):
    """Runs a command in the project's folder; returns what it printed.

    With the same number of devices, it uses the programs that this process has compiled.
    """
    result = subprocess.run(
        command(module, *arguments),
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": str(jax.device_count())},
        capture_output=True,
        text=True,
        check=False,
    )
    printed = result.stdout + result.stderr
    assert result.returncode == status, printed
    return printed


def call(script, *arguments):
    """Calls the main function of a module in this process; returns what it printed."""
    argv = [script.__name__, *map(str, arguments)]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(sys, "argv", argv)
        script.main()
    return printed.getvalue()


def train(*arguments):
    """Runs `ttl_jax.main` in this process; returns its message if it fails, else ""."""
    argv = ["main", *map(str, arguments)]
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)  # defined by the command before
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", argv)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of ml_collections
                remaining = main._parse_flags(argv)
            status = main.main(remaining)
        except SystemExit as error:
            status = error.code  # a message is printed, with exit status 1
    assert status == 0 or isinstance(status, str)
    return status or ""


def data_flags(photographs):
    fields = ("rainy", "clean", "pairs", "eval_rainy", "eval_clean", "eval_pairs")
    return [f"--config.{field}=folder:{photographs}" for field in fields]
