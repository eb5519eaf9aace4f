"""Memory and disk that are free, where the system tells."""

import os
import pathlib
import tempfile

_RESERVE = 2**30  # bytes of a disk that are left to others


def free_bytes() -> int | None:
    """Memory that can be had without swapping: the machine's, and the control group's.

    None where the system does not tell. A group (of Slurm, Kubernetes, Docker) may have
    less than the machine; the kernel ends whatever takes more.
    """
    machine = _read_table(pathlib.Path("/proc/meminfo")).get("MemAvailable:")
    found = [_free_of_group(group) for group in _groups()]
    found += [] if machine is None else [1024 * machine]
    return min((number for number in found if number is not None), default=None)


def scratch_folder() -> pathlib.Path:
    """Where large temporary files go: TMPDIR if it is set, else on a disk if there is one.

    /tmp is often kept in memory.
    """
    on_disk = pathlib.Path("/var/tmp")
    if "TMPDIR" not in os.environ and os.access(on_disk, os.W_OK):
        return on_disk
    return pathlib.Path(tempfile.gettempdir())


def has_room(folder: pathlib.Path, num_bytes: int) -> bool:
    """Whether a file of that size leaves others a gigabyte of the folder's disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize >= num_bytes + _RESERVE


def _groups() -> list[pathlib.Path]:
    """The control groups (version 2) that this process is in, the innermost first."""
    root = pathlib.Path("/sys/fs/cgroup")
    for line in _read(pathlib.Path("/proc/self/cgroup")).splitlines():
        number, _, name = line.split(":", 2)
        if number == "0":
            group = root / name.lstrip("/")
            return [
                group,
                *(one for one in group.parents if root in (one, *one.parents)),
            ]
    return []


def _free_of_group(group: pathlib.Path) -> int | None:
    """Bytes up to a group's limit; pages of files that nobody uses make room."""
    limit, used = _read(group / "memory.max"), _read(group / "memory.current")
    if not (limit.strip().isdecimal() and used.strip().isdecimal()):  # "max", or none
        return None
    unused = _read_table(group / "memory.stat").get("inactive_file", 0)
    return max(int(limit) - int(used) + unused, 0)


def _read_table(path: pathlib.Path) -> dict[str, int]:
    """Lines of a name and a whole number, and perhaps a unit."""
    rows = (line.split() for line in _read(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
