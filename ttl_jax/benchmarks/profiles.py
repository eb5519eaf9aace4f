"""The operations that take the most time in a profile of `jax.profiler.trace`."""

import collections
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

import jax


def largest(folder: str | os.PathLike[str], count: int = 10) -> list[dict]:
    """Returns the operations with the longest times, the longest first.

    On a GPU these are kernels and copies, on a CPU the operations of compiled programs. The
    time of an operation excludes that of operations within it, such as the body of a loop.
    Numbers at the ends of names are dropped, so that equal layers count together.

    Args:
      folder: Folder of profiles; the newest one is read.

    Returns:
      Rows with name, number of calls, milliseconds, and share of the time of all operations.
    """
    paths = pathlib.Path(folder).rglob("*.xplane.pb")
    newest = max(paths, key=lambda path: path.stat().st_mtime)
    profile = jax.profiler.ProfileData.from_file(str(newest))
    calls, nanoseconds = collections.Counter(), collections.Counter()
    for events in _list_lines(profile.planes):
        for name, own in own_times(events):
            kind = re.sub(r"[._]\d+$", "", name)
            calls[kind] += 1
            nanoseconds[kind] += round(own)
    total = nanoseconds.total()
    return [
        {"operation": kind, "calls": calls[kind], "ms": own / 1e6, "share": own / total}
        for kind, own in nanoseconds.most_common(count)
    ]


def own_times(
    events: Iterable[tuple[str, float, float]],
) -> Iterator[tuple[str, float]]:
    """Yields the name of each event, and its duration without events within it.

    Args:
      events: Name, start and end of each event of one thread or stream; two of them are
        disjoint or one is within the other.
    """
    open_events: list[list] = []  # name, end, own time; each within the one before
    for name, start, end in sorted(events, key=lambda event: (event[1], -event[2])):
        while open_events and open_events[-1][1] <= start:
            done, _, own = open_events.pop()
            yield done, own
        if open_events:
            open_events[-1][2] -= end - start
        open_events.append([name, end, end - start])
    for name, _, own in open_events:
        yield name, own


def _list_lines(planes) -> list[list[tuple[str, float, float]]]:
    """Returns the events of each stream of the GPUs, or of each thread of the CPU."""
    lines = {"device": [], "host": []}
    for plane in planes:
        is_device = plane.name.startswith("/device:")
        for line in plane.lines:
            # Other lines of a device repeat its streams, summed by operation or step.
            if is_device and not line.name.startswith("Stream"):
                continue
            lines["device" if is_device else "host"].append(
                [
                    (event.name, event.start_ns, event.start_ns + event.duration_ns)
                    for event in line.events
                    if is_device or any(name == "hlo_op" for name, _ in event.stats)
                ]
            )
    return lines["device"] if any(lines["device"]) else lines["host"]
