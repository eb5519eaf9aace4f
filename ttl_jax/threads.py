"""CPUs that a process may use, and work that threads do in advance."""

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def count_cpus() -> int:
    """Returns the number of CPUs that this process may use.

    `taskset`, a container or the scheduler of a cluster can make it smaller than the number
    of CPUs of the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_ahead(
    function: Callable[[Any], Any],
    items: Iterable,
    *,
    num_threads: int | None = None,
    num_ahead: int | None = None,
) -> Iterator[Any]:
    """Yields the result of a function for each item.

    If the generator ends early, calls that have not begun are dropped.

    Args:
      function: Function of one item; several threads call it.
      items: Items, which are read as results are needed.
      num_threads: Number of calls at the same time; by default the number of CPUs.
      num_ahead: Number of calls in advance, which bounds the memory. The default is
        eight times the number of threads.
    """
    num_threads = num_threads or count_cpus()
    num_ahead = 8 * num_threads if num_ahead is None else num_ahead
    pending = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > num_ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
