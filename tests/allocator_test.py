"""Commands restart with huge pages on a CPU, and only there."""

import os
import subprocess
import sys

import pytest

from ttl_jax import allocator

SCRIPT = """
import os
from ttl_jax import allocator
print("started", os.getpid())
allocator.use_huge_pages()
print(os.environ.get("GLIBC_TUNABLES"))
"""


@pytest.fixture(autouse=True)
def helpful_machine(monkeypatch):
    """Simulates a machine that supports huge pages."""
    monkeypatch.setattr(allocator, "_is_known_to_libc", lambda: True)
    monkeypatch.setattr(allocator, "_is_allowed", lambda: True)


def test_the_setting_is_added_to_others():
    changed = allocator._changed_environment(
        {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}
    )
    assert changed == {
        "JAX_PLATFORMS": "cpu",
        "GLIBC_TUNABLES": "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1",
    }


@pytest.mark.parametrize(
    "environment",
    [
        {"JAX_PLATFORMS": "cuda"},
        {"JAX_PLATFORMS": "cuda,cpu"},
        {"JAX_PLATFORMS": "cpu", allocator.SWITCH: "0"},
        {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"},
    ],
)
def test_nothing_changes_on_other_devices_or_if_the_setting_exists(environment):
    assert allocator._changed_environment(environment) is None


@pytest.mark.parametrize("check", ["_is_known_to_libc", "_is_allowed"])
def test_nothing_changes_without_support_for_huge_pages(monkeypatch, check):
    monkeypatch.setattr(allocator, check, lambda: False)
    assert allocator._changed_environment({"JAX_PLATFORMS": "cpu"}) is None


def test_an_installed_accelerator_is_detected_without_starting_jax(monkeypatch):
    monkeypatch.setattr(
        allocator.importlib.metadata, "entry_points", lambda group: ["cuda"]
    )
    assert not allocator.will_use_cpu({})
    monkeypatch.setattr(allocator.importlib.metadata, "entry_points", lambda group: [])
    monkeypatch.setattr(allocator.importlib.util, "find_spec", lambda name: None)
    assert allocator.will_use_cpu({})


@pytest.mark.parametrize("version", ["glibc 2.34", "musl 1.2.4", ""])
def test_other_c_libraries_are_not_configured(monkeypatch, version):
    monkeypatch.undo()
    monkeypatch.setattr(os, "confstr", lambda name: version)
    assert not allocator._is_known_to_libc()


def test_a_command_restarts_once(monkeypatch):
    monkeypatch.undo()
    if not (allocator._is_known_to_libc() and allocator._is_allowed()):
        pytest.skip("this machine has no huge pages for programs")
    of_user = {"GLIBC_TUNABLES", allocator.SWITCH}
    environment = {k: v for k, v in os.environ.items() if k not in of_user}
    lines = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**environment, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    first, second, tunables = lines
    assert first == second  # the same process, so that signals and launchers find it
    assert tunables == "glibc.malloc.hugetlb=1"
