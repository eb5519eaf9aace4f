"""Common parts of all benchmarks: alternating measurements; results as tables and JSON."""

import json
import math
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import tqdm

from ttl_jax import atomic_files

Case = TypeVar("Case")


class Table(NamedTuple):
    """Rows under a title; all rows have the same keys, the names of the columns."""

    title: str
    rows: Sequence[Mapping[str, Any]]


def seconds(run: Callable[[], object]) -> float:
    """Returns the seconds until a function has returned and its result is computed."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def compile(function: Any, *arguments: Any) -> tuple[Any, float, int]:
    """Returns a compiled program, the seconds of compilation, and its temporary bytes."""
    start = time.perf_counter()
    program = function.lower(*arguments).compile()
    elapsed = time.perf_counter() - start
    return program, elapsed, program.memory_analysis().temp_size_in_bytes


def take_turns(
    cases: Mapping[tuple, Case], rounds: int, measure: Callable[[Case], float] = seconds
) -> dict[tuple, float]:
    """Returns the median of `rounds` measurements of each case.

    The cases alternate, so that other load on the machine affects all of them equally.
    """
    found = {case: [] for case in cases}
    for case in tqdm.tqdm([*cases] * rounds, unit="turn", disable=None):
        found[case].append(measure(cases[case]))
    return {case: statistics.median(measures) for case, measures in found.items()}


def report(
    tables: Mapping[str, Table], output: str | os.PathLike[str] | None, file: str
) -> str:
    """Returns Markdown tables, and writes their rows as JSON; null if not finite.

    Args:
      tables: Tables by their name in the JSON file.
      output: Folder of the JSON file; None writes no file.

    Raises:
      OSError: If the file cannot be written.
    """
    if output is not None:
        folder = pathlib.Path(output)
        folder.mkdir(parents=True, exist_ok=True)
        figures = {
            name: [{key: _or_null(value) for key, value in row.items()} for row in rows]
            for name, (_, rows) in tables.items()
        }
        text = f"{json.dumps(figures, indent=2, allow_nan=False)}\n"
        atomic_files.write_bytes(folder / file, text.encode())
    return "\n\n".join(
        f"{table.title}:\n\n{_tabulate(table.rows)}" for table in tables.values()
    )


def _or_null(value):
    is_number = not isinstance(value, float) or math.isfinite(value)
    return value if is_number else None


def _tabulate(rows: Sequence[Mapping[str, Any]]) -> str:
    names = [name.replace("_", " ") for name in rows[0]]
    lines = [names, ["---"] * len(names)]
    lines += [map(_format, row.values()) for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _format(value) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
