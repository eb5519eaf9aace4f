"""Huge pages for the memory of programs on a CPU: a command starts itself again with them.

XLA allocates one buffer of temporary values for each call of a program, and glibc returns
it to the system afterwards: hundreds of thousands of page faults for each update. With
pages of 2 MiB there are hundreds. benchmarks/NOTES.md has the figures.
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
_FIRST_GLIBC = (2, 35)  # which knows the tunable
_KERNEL_SETTING = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def use_huge_pages() -> None:
    """Starts this command again with huge pages, where JAX will run on a CPU of Linux.

    glibc reads its settings only when a process starts. Nothing happens where the
    environment has the setting or turns it off (`SWITCH`), or with other C libraries. Call
    this before JAX is imported.
    """
    changed = _changed_environment(os.environ)
    if changed is None:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):  # then without them, which is slower
        os.execve(sys.executable, sys.orig_argv, changed)


def _changed_environment(environment: Mapping[str, str]) -> dict[str, str] | None:
    """The environment to start again with; None if the process may continue."""
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
    """Whether the kernel gives huge pages to programs that ask for them."""
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
