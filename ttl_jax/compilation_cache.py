"""Keeps compiled programs in the user's cache for the next start of a command."""

import contextlib
import os
import pathlib
import sys
import tempfile
from stat import S_ISDIR

import jax

from ttl_jax import user_paths

_MAX_BYTES = 2**30
_MIN_SECONDS = 0.2  # excludes dozens of small programs that compile in a tenth of this


def enable() -> None:
    """Makes JAX keep programs in the folder ttl_jax/programs of the user's cache.

    JAX identifies a program by its code and options, JAX's version and the device,
    including a CPU's instruction set. Machines may therefore share the folder.

    Does nothing if JAX_COMPILATION_CACHE_DIR names a folder. If the default folder
    cannot be written, a line is printed and everything is compiled. Processes that
    train together do not use the cache, since JAX writes it only in process 0. Without
    a shared folder, process 0 would skip compilation at the next start. The others
    would compile and wait for process 0.
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
    """Rejects a folder that other users may write, since its programs are executed."""
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError("other users may write it; remove it, or chmod 700")


def trim(folder: pathlib.Path, max_bytes: int) -> None:
    """Removes the least recently used files until `max_bytes` or less remain.

    Note: JAX's own limit needs another package and takes a lock on each load of a program.

    Raises:
      OSError: If the folder cannot be read, or a file cannot be removed.
    """
    stats = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process trims too
            stats[path] = path.stat()
    files = {p: stat for p, stat in stats.items() if not S_ISDIR(stat.st_mode)}
    # Not every file system records when a file is read.
    last_use = {p: max(stat.st_atime, stat.st_mtime) for p, stat in files.items()}
    total = 0
    for path in sorted(files, key=lambda path: -last_use[path]):
        total += files[path].st_size
        if total > max_bytes:
            path.unlink(missing_ok=True)
