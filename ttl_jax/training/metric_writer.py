"""Writes the metrics and images of a run to the log, `metrics.jsonl` and TensorBoard."""

import contextlib
import json
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import tensorboardX
from absl import logging

from ttl_jax import atomic_files

FILE = "metrics.jsonl"


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
        self._board = tensorboardX.SummaryWriter(
            str(run_dir / "tensorboard"), purge_step=first_step + 1
        )

    def write(self, step: int, scalars: Mapping[str, float], note: str = "") -> None:
        """Writes scalars of one step; values that are not finite become null in JSON.

        The line in the log ends with the note.
        """
        if not self._enabled or not scalars:  # there may be no evaluation sets
            return
        values = {name: float(value) for name, value in scalars.items()}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        logging.info("step %d: %s%s", step, shown, note)
        row = {n: v if math.isfinite(v) else None for n, v in values.items()}
        with self._naming_file():
            self._file.write(json.dumps({"step": step, **row}) + "\n")
            self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def write_images(self, step: int, images: Mapping[str, Any]) -> None:
        """Writes the images of one step to TensorBoard, uint8 [H, W, 3] by name."""
        if not self._enabled:
            return
        for name, image in images.items():
            self._board.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes the files."""
        if self._enabled:
            with self._naming_file():
                self._file.close()
                self._board.close()

    @contextlib.contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except (
            OSError
        ) as error:  # errors of an open file, as on a full disk, lack its name
            raise OSError(error.errno, error.strerror, str(self.path)) from error


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
