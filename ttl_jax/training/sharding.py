"""Processes, devices, and the placement of arrays on them."""

import collections
import hashlib
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ttl_jax import slurm

_CONTACT_SECONDS = 300
_MIN_SPREAD = 1024  # elements; gathering smaller arrays costs more than keeping them


def initialize_distributed(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Joins the processes that train together; call it before devices are used.

    Without arguments it joins the tasks of Slurm's `srun` if there are several, and does
    nothing otherwise.

    Args:
      coordinator: Address "HOST:PORT" where process 0 listens.

    Raises:
      ValueError: If an argument is missing or invalid, or process 0 does not answer.
    """
    given = coordinator, num_processes, process_id
    if given != (None, None, None):
        _check_processes(*given)
        _check_contact(str(coordinator), is_first=process_id == 0)
        devices: list[int] | None = []
    elif step := slurm.find_step():
        # []: the task takes all visible devices. None: one device, by the task's number.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        sees_one = visible is not None and "," not in visible
        devices = [] if step.has_one_task_per_node or sees_one else None
    else:
        return
    # Otherwise JAX would handle SIGTERM itself.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(*given, local_device_ids=devices)


def _check_processes(coordinator, num_processes, process_id) -> None:
    flags = {
        "--coordinator": coordinator,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    if missing := [name for name, value in flags.items() if value is None]:
        raise ValueError(
            f"{' and '.join(missing)} missing: use all of {', '.join(flags)} or none."
        )
    if not re.fullmatch(r".+:\d+", coordinator):
        raise ValueError(
            f"--coordinator={coordinator} must be HOST:PORT of process 0, for example "
            "node1:1234."
        )
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process_id={process_id} is out of range for "
            f"--num_processes={num_processes} (0-based)."
        )


def _check_contact(coordinator: str, *, is_first: bool) -> None:
    """Waits until process 0 listens; without it, JAX would end with a traceback."""
    host, port = coordinator.rsplit(":", 1)
    deadline = time.monotonic() + _CONTACT_SECONDS
    while True:
        try:
            if is_first:
                socket.create_server(("", int(port))).close()
            else:
                socket.create_connection((host, int(port)), timeout=10).close()
            return
        except (OSError, OverflowError) as error:
            where = f"--coordinator={coordinator}: process 0"
            if is_first:
                raise ValueError(
                    f"{where} cannot listen there ({error}); choose another port."
                ) from error
            if time.monotonic() > deadline:
                raise ValueError(
                    f"{where} does not answer there ({error}). Start all processes within "
                    f"{_CONTACT_SECONDS} seconds; the host's name and port must be "
                    "reachable from here."
                ) from error
            time.sleep(1)


def check_same(what: str, value: str) -> None:
    """Checks that all processes have the same value.

    Args:
      what: Name of the value, for the error message.
      value: Value of this process.

    Raises:
      ValueError: In all processes, if a value differs from that of process 0.
    """
    if jax.process_count() == 1:
        return
    digest = np.frombuffer(hashlib.sha256(value.encode()).digest(), np.uint8)
    digests = multihost_utils.process_allgather(digest)
    others = np.flatnonzero((digests != digests[0]).any(axis=1)).tolist()
    if others:
        raise ValueError(
            f"{what} of process 0 and of {others} are not the same. Start all processes "
            "with the same flags and files, and with a --workdir that they share."
        )


def make_mesh() -> Mesh:
    """Returns a mesh with one axis, `data`, over all devices of all processes."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that is complete on every device."""
    return NamedSharding(mesh, PartitionSpec())


def over_batch(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array whose rows are spread over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def place_state(mesh: Mesh, state: Any, *, fsdp: bool) -> Any:
    """Returns the sharding of each array of a training state, as a tree like `state`.

    With `fsdp`, each array is spread over the devices, along the longest dimension that is
    a multiple of their number. Small arrays, and arrays without such a dimension, are
    replicated.

    Args:
      state: Tree of arrays, or of their shapes and types.
      fsdp: Whether to spread arrays; otherwise all are replicated.
    """

    def place(leaf):
        dividing = [n if n % mesh.size == 0 else 0 for n in leaf.shape]
        if not fsdp or leaf.size < _MIN_SPREAD or not any(dividing):
            return replicated(mesh)
        axis = dividing.index(max(dividing))
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))

    return jax.tree.map(place, state)


def place_batch(mesh: Mesh, rows: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Places this process's rows of a global batch on its devices."""
    placement = over_batch(mesh)
    return {
        name: jax.make_array_from_process_local_data(placement, values)
        for name, values in rows.items()
    }


def place_ahead(
    mesh: Mesh, batches: Iterator[Mapping[str, np.ndarray]], num_ahead: int = 2
) -> Iterator[dict[str, jax.Array]]:
    """Yields batches on the devices, each placed `num_ahead` batches in advance.

    A batch is transferred while the devices compute with earlier ones.
    """
    placed = collections.deque()
    for rows in batches:
        placed.append(place_batch(mesh, rows))
        if len(placed) > num_ahead:
            yield placed.popleft()
    yield from placed


class LargestOfAll:
    """Computes the largest number over all processes; all get it in the same call.

    With several processes the result is two calls old, so that no process waits for the
    devices.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._largest = jax.jit(jnp.max, out_shardings=replicated(mesh))
        self._pending = collections.deque()

    def __call__(self, number: int) -> int:
        """Returns the largest number (at first 0); all processes must make each call."""
        if jax.process_count() == 1:
            return number
        rows = np.full(jax.local_device_count(), number, np.int32)
        placed = jax.make_array_from_process_local_data(over_batch(self._mesh), rows)
        self._pending.append(self._largest(placed))
        if len(self._pending) <= 2:
            return 0
        return int(self._pending.popleft())


def process_share() -> tuple[int, int]:
    """Returns the number of this process, from 0, and the number of processes."""
    return jax.process_index(), jax.process_count()


def is_writer() -> bool:
    """Returns whether this process writes the files of the run; process 0 does."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Waits until every process has called this with the same text."""
    multihost_utils.sync_global_devices(what)
