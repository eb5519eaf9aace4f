"""Keeps two processes from training the same run at the same time.

Process 0 holds a lock on a file in the folder of the run. The system releases it when the
process ends, also if it is killed, so a lock is never left behind. The file remains.
"""

import contextlib
import fcntl
import os
import pathlib
import socket
import weakref

FILE = "lock.txt"  # names the process that holds the lock, or held it last


class Lock:
    """A lock that is held until `close`, or until nothing refers to it."""

    def __init__(self, descriptor: int):
        self.close = weakref.finalize(self, os.close, descriptor)


_held: weakref.WeakValueDictionary[pathlib.Path, Lock] = weakref.WeakValueDictionary()


def hold(run_dir: pathlib.Path) -> Lock:
    """Returns the lock of a run, which this process may already hold.

    If the file system has no locks, like some network file systems, nothing is locked.

    Raises:
      ValueError: If another process holds the lock; the message names it.
      OSError: If the folder or the file cannot be written.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    path = (run_dir / FILE).resolve()
    lock = _held.get(path)
    if lock is not None and lock.close.alive:
        return lock
    lock = _held[path] = Lock(descriptor := os.open(path, os.O_RDWR | os.O_CREAT))
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 200).decode(errors="replace").strip()
        lock.close()
        raise ValueError(
            f"{run_dir} is being trained by another process ({owner or 'unknown'}): wait "
            "for it, or name another --workdir or --config.run."
        ) from None
    except OSError:
        return lock
    with contextlib.suppress(OSError):  # a full disk is reported by the next file
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"pid {os.getpid()} on {socket.gethostname()}\n".encode())
    return lock
