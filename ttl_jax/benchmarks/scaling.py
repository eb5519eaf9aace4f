"""How updates keep their pace as devices, and with them the batch, become more.

Each number of devices has a process of its own; all take turns. Real devices are
compared with one of them and its share of the batch. On a CPU the devices are virtual
and share the cores, so that they are compared with one device and the whole batch: what
is told is the cost of working apart.
"""

import concurrent.futures
import dataclasses
import functools
import itertools
import math
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Self

import jax

from ttl_jax.benchmarks import timing, updates

TABLES = "benchmark_scaling.json"

# In a program's text: the result of a collective, where it is done, and its arrays.
_COLLECTIVE = re.compile(
    r"= (.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-done)?\("
)
_ARRAY = re.compile(r"[a-z](\d+)\[([\d,]*)\]")  # bits and sizes


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Updates on some devices.

    Attributes:
      devices: How many.
      fsdp: Whether they share weights and optimizer state, or each holds all of them.
      batch_size: Images of the batch, over all devices.
      ms: Milliseconds of an update, median of the rounds.
      images_per_s: Of the same.
      efficiency: Milliseconds of one device over `ms`; at 1 working apart is free.
      collectives_mib: Results of the collectives of an update, on each device.
    """

    devices: int
    fsdp: bool
    batch_size: int
    ms: float
    images_per_s: float
    efficiency: float
    collectives_mib: float


def run(
    *,
    preset: str,
    stage: str,
    dtype: str,
    crop_size: int,
    batch_size: int,
    devices: Sequence[int],
    rounds: int,
    output: str | None,
) -> str:
    """Measures updates on all numbers of devices, weights replicated and spread.

    Args:
      preset: Of `configs/common.py`.
      stage: recog, recon, distill or derain.
      dtype: "float32" or "bfloat16".
      crop_size: In pixels.
      batch_size: Images of each device.
      devices: Numbers of devices; one is measured too.
      rounds: Turns of every case.
      output: Folder for the figures as JSON; None for none.

    Returns:
      The figures as a Markdown table.

    Raises:
      ValueError: If a value is at fault, or there are not so many devices.
      OSError: If the file cannot be written.
    """
    counts = sorted({1, *devices})
    with _Workers(counts) as workers:
        kinds = {workers.call(count, _check_devices, count) for count in counts}
        if len(kinds) > 1:  # JAX takes the CPU where there are not so many GPUs
            raise ValueError(f"--devices {counts[-1]}: there are not so many GPUs.")
        is_virtual = "cpu" in kinds
        cases = [(1, False, batch_size)]
        for count, fsdp in itertools.product(counts[1:], (False, True)):
            cases.append((count, fsdp, batch_size * count))
        references = {
            case: (1, False, case[2] if is_virtual else batch_size) for case in cases
        }
        measured = dict.fromkeys([*references.values(), *cases])
        compiled = {
            case: workers.call(case[0], _compile, preset, stage, dtype, crop_size, case)
            for case in measured
        }
        turns = {
            case: functools.partial(workers.call, case[0], _seconds, case)
            for case in measured
        }
        seconds = timing.take_turns(turns, rounds, lambda turn: turn())
    rows = [
        _describe(case, seconds[case], seconds[references[case]], compiled[case])
        for case in cases
    ]
    if output is not None:
        timing.write_json(output, TABLES, {"scaling": rows})
    compared = (
        "virtual devices share the cores; efficiency is over one device with the whole "
        "batch"
        if is_virtual
        else "efficiency is over one device with its share of the batch"
    )
    return (
        f"Updates of {preset}, {stage}, {dtype}, {batch_size} crops of {crop_size} "
        f"pixels on each {'/'.join(sorted(kinds))}, {rounds} turns of {updates.STEPS}; "
        f"{compared}:\n\n{timing.tabulate(Scaling, rows)}"
    )


def _describe(
    case: tuple[int, bool, int], seconds: float, alone: float, collective_bytes: int
) -> Scaling:
    count, fsdp, batch_size = case
    return Scaling(
        devices=count,
        fsdp=fsdp,
        batch_size=batch_size,
        ms=1000 * seconds,
        images_per_s=batch_size / seconds,
        efficiency=alone / seconds,
        collectives_mib=collective_bytes / 2**20,
    )


class _Workers:
    """A process for each number of devices, which keeps what it has compiled."""

    def __init__(self, counts: Sequence[int]):
        # A copy of this process would have its devices.
        context = multiprocessing.get_context("spawn")
        self._processes = {
            count: concurrent.futures.ProcessPoolExecutor(
                1, context, initializer=_set_devices, initargs=(count,)
            )
            for count in counts
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        for process in self._processes.values():
            process.shutdown()

    def call(self, count: int, function: Callable, *arguments):
        """Returns what a function returns in the process of `count` devices."""
        return self._processes[count].submit(function, *arguments).result()


# What follows runs in the processes. A case is devices, FSDP or not, and batch size.
_programs: dict[tuple[int, bool, int], updates.Program] = {}


def _set_devices(count: int) -> None:
    """Restricts a process, before it uses devices, to the first ones."""
    jax.config.update("jax_num_cpu_devices", count)
    jax.config.update("jax_cuda_visible_devices", ",".join(map(str, range(count))))
    # Several processes share the memory of the first devices.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def _check_devices(count: int) -> str:
    """Returns the kind of the devices."""
    kind = jax.devices()[0].device_kind
    if jax.device_count() != count:
        raise ValueError(
            f"--devices {count}: there are {jax.device_count()} of {kind}; name fewer."
        )
    return kind


def _compile(preset, stage, dtype, crop_size: int, case: tuple[int, bool, int]) -> int:
    """Compiles a case; returns the bytes that its collectives make."""
    _, fsdp, batch_size = case
    _programs[case] = updates.compile_update(
        preset, stage, dtype, crop_size, batch_size, fsdp=fsdp
    )
    return collective_bytes(_programs[case].step.as_text())


def _seconds(case: tuple[int, bool, int]) -> float:
    """Seconds of an update."""
    start = time.perf_counter()
    _programs[case].run()
    return (time.perf_counter() - start) / updates.STEPS


def collective_bytes(text: str) -> int:
    """Bytes of the results of all collectives in a compiled program's text."""
    total = 0
    for result in _COLLECTIVE.findall(text):
        for bits, shape in _ARRAY.findall(result):
            sizes = (int(size) for size in shape.split(",") if size)
            total += int(bits) // 8 * math.prod(sizes)
    return total
