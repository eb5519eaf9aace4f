"""Writes the metrics and images of a run to the log, `metrics.jsonl` and TensorBoard."""

import contextlib
import json
import math
import pathlib
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from absl import logging
from tensorboardX import record_writer, summary
from tensorboardX.proto.event_pb2 import (
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)

from ttl_jax import atomic_files

FILE = "metrics.jsonl"
TENSORBOARD = "tensorboard"  # folder of event files


class MetricWriter:
    """Writes scalars and images by step; does nothing on processes that do not write.

    Attributes:
      path: The JSON-lines file, with one object {"step": ..., name: value, ...} per line.
    """

    def __init__(self, run_dir: pathlib.Path, *, first_step: int, enabled: bool):
        """Opens the files and drops the rows after `first_step`.

        A killed run may have written rows after its last checkpoint. They are written again
        when it resumes.

        Args:
          first_step: Step that was restored; rows up to it are kept. 0 keeps no rows.
        """
        self.path = run_dir / FILE
        self._enabled = enabled
        if not enabled:
            return
        if self.path.exists():
            kept = [row for row in read(self.path) if 0 < first_step >= row["step"]]
            lines = "".join(json.dumps(row) + "\n" for row in kept)
            atomic_files.write_bytes(self.path, lines.encode())
        self._file = self.path.open("a")
        self._events = _EventFile(run_dir / TENSORBOARD, first_step=first_step)

    def write(self, step: int, scalars: Mapping[str, float], note: str = "") -> None:
        """Writes scalars of one step; values that are not finite become null in JSON.

        The line in the log ends with the note.

        Raises:
          OSError: If a file cannot be written; the message names it.
        """
        if not self._enabled or not scalars:  # there may be no evaluation sets
            return
        values = {name: float(value) for name, value in scalars.items()}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        logging.info("step %d: %s%s", step, shown, note)
        row = {n: v if math.isfinite(v) else None for n, v in values.items()}
        with _naming(self.path):
            self._file.write(json.dumps({"step": step, **row}) + "\n")
            self._file.flush()
        self._events.write(step, (summary.scalar(n, v) for n, v in values.items()))

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """Writes the images of one step to TensorBoard, uint8 [H, W, 3] by name."""
        if self._enabled and images:
            self._events.write(
                step,
                (summary.image(n, x, dataformats="HWC") for n, x in images.items()),
            )

    def close(self) -> None:
        """Flushes and closes the files; raises as `write`."""
        if not self._enabled:
            return
        try:
            with _naming(self.path):
                self._file.close()
        finally:
            self._events.close()


class _EventFile:
    """An event file of TensorBoard, written by the caller's thread.

    The writers of tensorboardX have a thread and a queue. On a full disk that thread
    ends, and training would wait forever for room in the queue.
    """

    def __init__(self, folder: pathlib.Path, *, first_step: int):
        """Opens a file that hides the events of earlier files after `first_step`."""
        folder.mkdir(exist_ok=True)
        self._folder = folder
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._file = record_writer.RecordWriter(str(folder / name))
        start = SessionLog(status=SessionLog.START)
        self._write_event(0, file_version="brain.Event:2")
        self._write_event(first_step + 1, session_log=start)

    def write(self, step: int, summaries: Iterable[Any]) -> None:
        """Writes summaries of a step to the disk."""
        with _naming(self._folder):
            for one in summaries:
                self._write_event(step, summary=one)
            self._file.flush()

    def close(self) -> None:
        with _naming(self._folder):
            self._file.close()

    def _write_event(self, step: int, **content: Any) -> None:
        event = Event(step=step, wall_time=time.time(), **content)
        self._file.write(event.SerializeToString())


@contextlib.contextmanager
def _naming(path: pathlib.Path) -> Iterator[None]:
    """Adds the path to errors of an open file (such as a full disk), which lack it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def read(path: pathlib.Path) -> list[dict]:
    """Returns the rows of a `metrics.jsonl`, up to the first damaged line."""
    rows = []
    for line in path.read_text("utf-8", "replace").splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not (isinstance(row, dict) and isinstance(row.get("step"), int)):
            break
        rows.append(row)
    return rows
