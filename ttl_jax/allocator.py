"""Huge pages for the memory of compiled programs on a CPU.

For each call of a program, XLA allocates one buffer of temporary values, and glibc returns
it to the system afterwards. This causes hundreds of thousands of page faults per
update. Pages of 2 MiB reduce them to hundreds. benchmarks/NOTES.md has the
measurements.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import pathlib
import sys
from collections.abc import Mapping

SWITCH = "TTL_JAX_HUGE_PAGES"  # 0 turns this off
_TUNABLES = "GLIBC_TUNABLES"
_TUNABLE = "glibc.malloc.hugetlb"
_FIRST_GLIBC = (2, 35)  # first version with the tunable
_KERNEL_SETTING = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> None:
    """Restarts this command with huge pages, if JAX will run on a CPU under Linux.

    A restart is needed because glibc reads its settings only when a process starts.
    Does nothing if the environment already has the setting or disables it (`SWITCH`),
    if glibc is missing or too old, or if the kernel gives no huge pages. Call this
    before JAX is imported.
    """
    changed = _changed_environment(os.environ)
    if changed is None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # continue without huge pages, which is slower
        os.execve(sys.executable, sys.orig_argv, changed)


def _changed_environment(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Returns the environment for a restart; None if no restart is needed."""
    tunables = environment.get(_TUNABLES, "")
    if environment.get(SWITCH) == "0" or _TUNABLE in tunables:
        return None
    if not (_is_known_to_libc() and _is_allowed() and will_use_cpu(environment)):
        return None
    added = f"{_TUNABLE}=1"
    joined = f"{tunables}:{added}" if tunables else added
    return {**environment, _TUNABLES: joined}


def _is_known_to_libc() -> bool:
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # pyright: ignore[reportOptionalMemberAccess]
        return name == "glibc" and tuple(map(int, version.split("."))) >= _FIRST_GLIBC
    except (AttributeError, OSError, ValueError):  # another C library or system
        return False


def _is_allowed() -> bool:
    """Returns whether the kernel gives huge pages to programs that request them."""
    try:
        return "[never]" not in _KERNEL_SETTING.read_text()
    except OSError:
        return False


def will_use_cpu(environment: Mapping[str, str]) -> bool:
    """Whether JAX, or a program without JAX, will run on the CPU when it starts."""
    platforms = environment.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms == "cpu"
    has_plugins = bool(importlib.metadata.entry_points(group="jax_plugins"))
    names = ("jax_plugins", "libtpu")
    return not has_plugins and not any(map(importlib.util.find_spec, names))
