"""Processes that each hold one program, so that measurements of several can alternate.

This module does not import JAX, so that a process for PyTorch does not hold JAX too.
"""

import concurrent.futures
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import process
from typing import Any, NamedTuple

from ttl_jax import memory


class Program(NamedTuple):
    """What a process measures.

    Attributes:
      run: Function that returns when its result is computed.
      facts: Columns of a table that need no measurement.
    """

    run: Callable[[], object]
    facts: Mapping[str, Any]


def make_worker(**kwargs) -> concurrent.futures.ProcessPoolExecutor:
    """Returns an executor with one process, which starts with the first call."""
    # A forked process would inherit the devices.
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(1, context, **kwargs)


def call(worker: concurrent.futures.Executor, function: Callable, *arguments) -> Any:
    """Returns the result of a function in a worker process.

    Raises:
      MemoryError: If the process was killed, as systems do when memory runs out.
    """
    try:
        return worker.submit(function, *arguments).result()
    except process.BrokenProcessPool as error:
        raise MemoryError(
            "a process of this benchmark was killed, perhaps for lack of memory; use smaller "
            "images, crops or batches"
        ) from error


# The functions below run in worker processes.
_programs: list[Program] = []


def prepare(make: Callable[[], Program]) -> dict[str, Any]:
    """Makes the program of this process and runs it twice.

    Returns:
      Its facts, and `mib`: the peak resident memory of the process during the second run.
    """
    program = make()
    _programs.append(program)
    program.run()
    memory.reset_peak()
    program.run()
    return {**program.facts, "mib": memory.peak_mib()}


def seconds() -> float:
    """Returns the seconds of a run of this process's program.

    One run before it is not measured: while other processes have their turns, the system
    takes idle memory back, and caches are filled by others.
    """
    _programs[-1].run()
    start = time.perf_counter()
    _programs[-1].run()
    return time.perf_counter() - start
