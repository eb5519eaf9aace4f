"""Weak scaling: speed of updates on several devices, with the same batch on each.

Each number of devices has its own process, and their measurements alternate. Real devices
are compared with one device and its share of the batch. Virtual devices of a CPU share the
cores; they are compared with one device and the whole batch, which shows the overhead of
dividing the work.

The columns are
- number of devices; fsdp, whether weights and optimizer state are spread over them;
- images of the whole batch; milliseconds of an update, median of the measurements;
- images per second; efficiency, the milliseconds of one device divided by these;
- MiB of the results of all collectives of an update, per device.
"""

import contextlib
import functools
import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence

import jax

from ttl_jax.benchmarks import timing, updates, worker_processes

TABLES = "benchmark_scaling.json"

# Patterns in the text of a compiled program: results of collectives, and their arrays.
_COLLECTIVE = re.compile(
    r"= (.*?) (?:all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)"
    r"(?:-done)?\("
)
_ARRAY = re.compile(r"[a-z](\d+)\[([\d,]*)\]")  # bits and sizes


# A case to measure: devices, FSDP or not, images of the whole batch.
Case = tuple[int, bool, int]


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
    """Measures all numbers of devices, with and without FSDP.

    Args:
      preset: Network to train.
      stage: Stage whose update is measured.
      dtype: Type of the computation, float32 or bfloat16.
      crop_size: Side of the crops, in pixels.
      batch_size: Crops on each device.
      devices: Numbers of devices; one device is always measured.
      rounds: Number of measurements of each case; the median counts.
      output: Folder for the results as JSON, or None.

    Returns:
      The table in Markdown.

    Raises:
      ValueError: If there are fewer devices, or a name is unknown.
    """
    counts = sorted({1, *devices})
    with contextlib.ExitStack() as stack:
        workers, kind = _start_workers(stack, counts)
        references = _list_cases(counts, batch_size, is_virtual=kind == "cpu")
        measured = dict.fromkeys([*references.values(), *references])
        num_bytes = {
            case: worker_processes.call(
                workers[case[0]], _compile, preset, stage, dtype, crop_size, case
            )
            for case in measured
        }
        turns = {
            case: functools.partial(
                worker_processes.call, workers[case[0]], _seconds, case
            )
            for case in measured
        }
        seconds = timing.take_turns(turns, rounds, lambda turn: turn())
    rows = _make_rows(references, seconds, num_bytes)
    title = (
        f"Updates of {preset}, {stage}, {dtype}, {batch_size} crops of {crop_size} "
        f"pixels on each {kind}, {rounds} turns of {updates.STEPS}; "
        f"{_describe_reference(is_virtual=kind == 'cpu')}"
    )
    return timing.report({"scaling": timing.Table(title, rows)}, output, TABLES)


def _start_workers(stack: contextlib.ExitStack, counts: Sequence[int]):
    """Returns a process for each number of devices, and the kind of all devices.

    A process keeps its compiled programs; it ends with the stack.
    """
    workers = {
        count: stack.enter_context(
            worker_processes.make_worker(initializer=_set_devices, initargs=(count,))
        )
        for count in counts
    }
    kinds = {
        worker_processes.call(worker, _check_devices, count)
        for count, worker in workers.items()
    }
    if len(kinds) > 1:  # JAX falls back to the CPU if GPUs are missing
        raise ValueError(f"--devices {counts[-1]}: there are fewer GPUs.")
    return workers, kinds.pop()


def _list_cases(
    counts: Sequence[int], batch_size: int, is_virtual: bool
) -> dict[Case, Case]:
    """Returns the case on one device that each case is compared with.

    Args:
      counts: Numbers of devices, from 1.
      batch_size: Images on each device.
      is_virtual: Whether devices share the cores of a CPU. Then one device has the
        whole batch; otherwise it has its share.
    """
    cases = [(1, False), *itertools.product(counts[1:], (False, True))]
    return {
        (n, fsdp, batch_size * n): (1, False, batch_size * (n if is_virtual else 1))
        for n, fsdp in cases
    }


def _make_rows(
    references: Mapping[Case, Case],
    seconds: Mapping[Case, float],
    num_bytes: Mapping[Case, int],
) -> list[dict]:
    """Returns the rows of the table; the columns are described above."""
    return [
        {
            "devices": case[0],
            "fsdp": case[1],
            "batch_size": case[2],
            "ms": 1000 * seconds[case],
            "images_per_s": case[2] / seconds[case],
            "efficiency": seconds[reference] / seconds[case],
            "collectives_mib": num_bytes[case] / 2**20,
        }
        for case, reference in references.items()
    ]


def _describe_reference(is_virtual: bool) -> str:
    if is_virtual:
        return (
            "virtual devices share the cores; efficiency is relative to one device with "
            "the whole batch"
        )
    return "efficiency is relative to one device with its share of the batch"


# The functions below run in worker processes.
_programs: dict[Case, updates.Program] = {}


def _set_devices(count: int) -> None:
    """Restricts a process to its first devices, before it uses any."""
    jax.config.update("jax_num_cpu_devices", count)
    jax.config.update("jax_cuda_visible_devices", ",".join(map(str, range(count))))
    # Several processes use the memory of the first devices.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def _check_devices(count: int) -> str:
    """Returns the kind of the devices; raises ValueError if their number is wrong."""
    kind = jax.devices()[0].device_kind
    if jax.device_count() != count:
        raise ValueError(
            f"--devices {count}: there are {jax.device_count()} of {kind}."
        )
    return kind


def _compile(preset, stage, dtype, crop_size: int, case: Case) -> int:
    """Compiles a case; returns the `collective_bytes` of its program."""
    _, fsdp, batch_size = case
    _programs[case] = updates.compile_update(
        preset, stage, dtype, crop_size, batch_size, fsdp=fsdp
    )
    return collective_bytes(_programs[case].step.as_text())


def _seconds(case: Case) -> float:
    """Returns the duration of an update, in seconds."""
    return timing.seconds(_programs[case].run) / updates.STEPS


def collective_bytes(text: str) -> int:
    """Returns the bytes of the results of all collectives in the text of a program."""
    total = 0
    for result in _COLLECTIVE.findall(text):
        for bits, shape in _ARRAY.findall(result):
            sizes = (int(size) for size in shape.split(",") if size)
            total += int(bits) // 8 * math.prod(sizes)
    return total
