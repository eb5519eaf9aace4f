"""Compiled programs, kept in the user's cache for the next start of a command."""

import contextlib
import os
import pathlib
import sys
import tempfile
from stat import S_ISDIR

import jax

from ttl_jax import user_paths

_MAX_BYTES = 2**30
_MIN_SECONDS = 0.2  # the dozens of small programs of a start take a tenth of it each


def enable() -> None:
    """Lets JAX keep programs in the folder ttl_jax/programs of the user's cache.

    JAX finds a program by its code and options, by JAX's version and by the device, a
    CPU's instruction set included: machines may share the folder.

    A folder that the user has named, JAX_COMPILATION_CACHE_DIR, stays as it is. Where
    the own one cannot be written, a line says so and everything is compiled. Processes
    that train together keep nothing: only the first would write, and where they share no
    folder it would not compile at the next start, while the others wait for it.
    """
    named = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if named or jax.distributed.is_initialized():
        return
    folder = user_paths.cache_folder("programs")
    try:
        if not folder.is_absolute():
            raise FileNotFoundError("there is no home folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(folder)
        tempfile.TemporaryFile(dir=folder).close()
        trim(folder, _MAX_BYTES)
    except OSError as error:
        print(f"Compiled programs are not kept: {folder}: {error}", file=sys.stderr)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_SECONDS)


def _check_own(folder: pathlib.Path) -> None:
    """Refuses a folder that others may write, as its programs are run."""
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError("others may write it; remove it, or chmod 700")


def trim(folder: pathlib.Path, max_bytes: int) -> None:
    """Removes the files that were used longest ago until the rest is small enough.

    Note: JAX's own limit needs another package, and is held by a lock that each load of
    a program takes.

    Raises:
      OSError: If the folder cannot be read, or a file not be removed.
    """
    stats = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process trims too
            stats[path] = path.stat()
    files = {p: stat for p, stat in stats.items() if not S_ISDIR(stat.st_mode)}
    # Not every file system notes when a file is read.
    last_use = {p: max(stat.st_atime, stat.st_mtime) for p, stat in files.items()}
    total = 0
    for path in sorted(files, key=lambda path: -last_use[path]):
        total += files[path].st_size
        if total > max_bytes:
            path.unlink(missing_ok=True)
