"""Devices, processes and where arrays live on them."""

import collections
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh() -> Mesh:
    """Returns a mesh with one axis, `data`, over all devices of all processes."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the placement of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """Returns the placement of an array whose rows are spread over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(mesh: Mesh, batch_size: int, *, field: str, multiple: int = 1):
    """Checks that a batch divides over the devices.

    Args:
      mesh: The mesh of all devices.
      batch_size: Rows of the global batch.
      field: Name of the config field, for the message.
      multiple: What the rows of one device must be a multiple of.

    Raises:
      ValueError: If it does not divide.
    """
    unit = mesh.size * multiple
    if batch_size < 1 or batch_size % unit:
        raise ValueError(
            f"{field}={batch_size} does not divide over {mesh.size} devices"
            + (f" in {multiple} parts each" if multiple > 1 else "")
            + f"; choose a multiple of {unit}."
        )


def drop_text(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the rows that devices can hold."""
    return {name: values for name, values in rows.items() if values.dtype.kind != "U"}


def place_batch(mesh: Mesh, rows: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Puts this process's rows of a global batch on its devices, but for text."""
    placement = over_batch(mesh)
    return {
        name: jax.make_array_from_process_local_data(placement, values)
        for name, values in drop_text(rows).items()
    }


def place_ahead(
    mesh: Mesh, batches: Iterator[Mapping[str, np.ndarray]], num_ahead: int = 2
) -> Iterator[dict[str, jax.Array]]:
    """Batches on the devices, each `num_ahead` before it is asked for.

    So a batch travels while the devices compute on those before it.
    """
    placed = collections.deque()
    for rows in batches:
        placed.append(place_batch(mesh, rows))
        if len(placed) > num_ahead:
            yield placed.popleft()
    yield from placed


def process_index() -> int:
    """Returns the number of this process, 0 for the one that writes."""
    return jax.process_index()


def process_count() -> int:
    """Returns the number of processes."""
    return jax.process_count()


def is_writer() -> bool:
    """Whether this process writes the run's files: the first one does."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns once every process has called it with the same text."""
    multihost_utils.sync_global_devices(what)
