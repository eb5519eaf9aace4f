"""A record in the output folder of the weights, options and source of each file."""

import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ttl_jax.inference.file_jobs import Job

_logger = logging.getLogger("ttl_jax")

NAME = ".ttl_jax.jsonl"  # hidden, so that no command takes it for a photograph
_SOURCE = "source"  # key of the size in bytes and the time of the source in nanoseconds


def read(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Returns the entry of each recorded file, by its path within the output folder."""
    try:
        lines = pathlib.Path(folder, NAME).read_bytes().splitlines()
    except OSError:
        return {}
    made = {}
    for line in lines:
        try:
            entry = json.loads(line)
            made[entry.pop("file")] = entry
        except (ValueError, KeyError, AttributeError):
            continue  # incomplete because of a kill
    return made


class OutputLog:
    """Lines of JSON in the output folder, one for each photograph or video written.

    Lines are only appended, each with one write, so processes may share the file, and a kill
    damages at most the last line. The last line about a file is the valid one.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        options: Callable[[str], Mapping[str, Any]],
    ):
        """Reads the record.

        Args:
          folder: Output folder; need not exist.
          options: Function that returns, for the path of a target, the digest of the weights
            and all other values that determine its pixels.
        """
        self._folder, self._options = pathlib.Path(folder), options
        self._made = read(folder)

    def find_differences(self, jobs: Iterable[Job]) -> dict[Job, str]:
        """Returns jobs whose target was made with other options, such as "strength 0.5".

        They include those whose source has changed since. Targets without a line in the
        record count as made with the same options from the same source.
        """
        differences = {}
        for job in jobs:
            options = self._options(job.target)
            made = dict(self._made.get(self._key(job.target), options))
            source = made.pop(_SOURCE, None)  # None in records of earlier versions
            names = sorted(made.keys() | options.keys())
            found = [
                f"{name} {made.get(name, 'unset')}"
                for name in names
                if made.get(name) != options.get(name)
            ]
            if source is not None and source != _read_state(job.source):
                found.append("another version of the source")
            if found:
                differences[job] = ", ".join(found)
        return differences

    def add(self, job: Job, status: os.stat_result) -> None:
        """Records that a target has been written.

        Args:
          status: Status of the source before it was read.
        """
        key = self._key(job.target)
        entry = {**self._options(job.target), _SOURCE: _state(status)}
        self._made[key] = entry
        line = json.dumps({"file": key, **entry}) + "\n"
        try:
            with open(self._folder / NAME, "ab+") as file:
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    # A line that a kill or a full disk cut off must not swallow this one.
                    line = line if file.read(1) == b"\n" else f"\n{line}"
                file.write(line.encode())
        except OSError as error:  # the photograph is there nevertheless
            _logger.warning("%s cannot be written: %s", self._folder / NAME, error)

    def _key(self, target: str) -> str:
        return os.path.relpath(target, self._folder)


def _state(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns]


def _read_state(path: str) -> list[int] | None:
    try:
        return _state(os.stat(path))
    except OSError:  # reading it reports the reason
        return None
