"""What all benchmarks share: cases that take turns, and figures as tables and JSON."""

import dataclasses
import json
import os
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import tqdm

from ttl_jax import atomic_files

Case = TypeVar("Case")


def take_turns(
    cases: Mapping[tuple, Case], rounds: int, measure: Callable[[Case], float]
) -> dict[tuple, float]:
    """The median of `rounds` measures of each case.

    The cases alternate, so that whatever else the machine does touches all alike.
    """
    found = {case: [] for case in cases}
    for case in tqdm.tqdm([*cases] * rounds, unit="turn", disable=None):
        found[case].append(measure(cases[case]))
    return {case: statistics.median(measures) for case, measures in found.items()}


def tabulate(kind: type, rows: Sequence) -> str:
    """Dataclass instances as a Markdown table, a column for each field."""
    names = [field.name.replace("_", " ") for field in dataclasses.fields(kind)]
    lines = [names, ["---"] * len(names)]
    lines += [map(_format, dataclasses.astuple(row)) for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_json(
    folder: str | os.PathLike[str], name: str, tables: Mapping[str, Sequence]
) -> None:
    """Writes tables of dataclass instances, by name, into a file of a folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        table: [dataclasses.asdict(row) for row in rows]
        for table, rows in tables.items()
    }
    with atomic_files.atomic_file(folder / name) as stream:
        stream.write(f"{json.dumps(figures, indent=2)}\n".encode())


def _format(value) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
