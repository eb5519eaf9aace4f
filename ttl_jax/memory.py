"""Peak resident memory of this process, as Linux reports it."""

import contextlib
import pathlib
import re

_PROCESS = pathlib.Path("/proc/self")
_RESET_PEAK = "5"  # for clear_refs, see proc(5)


def reset_peak() -> None:
    """Lowers the peak to the memory in use now; does nothing outside Linux."""
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text(_RESET_PEAK)


def peak_mib() -> float:
    """Returns the peak since the last reset or the start, in MiB; NaN outside Linux."""
    try:
        status = (_PROCESS / "status").read_text()
    except OSError:
        return float("nan")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else float("nan")
