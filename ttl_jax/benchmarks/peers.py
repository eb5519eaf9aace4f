"""Updates and restorations of our networks beside those of others, in one run on a CPU.

Each program has its own process, and the measurements of all alternate. All processes,
also those of PyTorch, have the memory settings of this command (`ttl_jax.allocator`).
Networks have random weights and images are noise, since values do not affect the time.
An update of our networks is that of the config. One in PyTorch has L1 loss and AdamW.
Both use float32.

The columns are

- network; library; millions of parameters;
- milliseconds of an update, median of the measurements; its ratio to the first row;
- peak resident memory of the process during an update, in MiB;
- the same for restoring one square image.
"""

import contextlib
import functools
import importlib
import os
from collections.abc import Sequence

import jax
import numpy as np

from ttl_jax import suggestions, threads
from ttl_jax.benchmarks import restore, timing, torch_peers, updates, worker_processes
from ttl_jax.inference.restorer import Restorer
from ttl_jax.stages.stage import make_stage

TABLES = "benchmark_peers.json"
CONFIGS = ("scratch", "restormer", "nafnet")
_KINDS = ("update", "restore")


def run(
    *,
    networks: Sequence[str],
    peers: Sequence[Sequence[str]],
    crop_size: int,
    batch_size: int,
    side: int,
    rounds: int,
    output: str | None,
) -> str:
    """Measures the peers, then the networks; ratios are relative to the first one.

    Raises:
      ValueError: If JAX uses another device than a CPU, or a name or a peer is invalid.
    """
    if jax.default_backend() != "cpu":
        raise ValueError("peers are compared on a CPU: set JAX_PLATFORMS=cpu")
    makes = _list_programs(networks, peers, crop_size, batch_size, side)
    with contextlib.ExitStack() as stack:
        workers = {
            case: stack.enter_context(worker_processes.make_worker()) for case in makes
        }
        facts = {
            case: worker_processes.call(workers[case], worker_processes.prepare, make)
            for case, make in makes.items()
        }
        seconds = timing.take_turns(
            workers,
            rounds,
            lambda worker: worker_processes.call(worker, worker_processes.seconds),
        )
    first, rows = next(iter(makes))[0], []
    for name in dict.fromkeys(name for name, _ in makes):
        row = {"network": name, **facts[name, "update"]}
        del row["mib"]
        for kind in _KINDS:
            row[f"{kind}_ms"] = 1000 * seconds[name, kind]
            row[f"{kind}_ratio"] = seconds[name, kind] / seconds[first, kind]
            row[f"{kind}_mib"] = facts[name, kind]["mib"]
        rows.append(row)
    title = (
        f"An update of {batch_size} crops of {crop_size} pixels, and restoring one image "
        f"of {side}, on {threads.count_cpus()} CPUs, float32, {rounds} turns; "
        f"GLIBC_TUNABLES={os.environ.get('GLIBC_TUNABLES', '')}"
    )
    return timing.report({"peers": timing.Table(title, rows)}, output, TABLES)


def _list_programs(networks, peers, crop_size: int, batch_size: int, side: int):
    """Returns functions that make programs, by name and kind.

    Peers come first, since a wrong file or class should be found early.
    """
    programs: dict[tuple[str, str], functools.partial[worker_processes.Program]] = {}

    def add(name: str, update, restoration, network) -> None:
        if (name, "update") in programs:
            raise ValueError(f"{name!r} is given twice; use another name.")
        make = functools.partial(update, network, crop_size, batch_size)
        programs[name, "update"] = make
        programs[name, "restore"] = functools.partial(restoration, network, side)

    for peer in map(torch_peers.parse, peers):
        add(peer.name, torch_peers.make_update, torch_peers.make_restoration, peer)
    for name in networks:
        _make_config(name)
        add(name, make_update, make_restoration, name)
    return programs


def _make_config(name: str):
    """Returns the config of PRESET (ours) or CONFIG:PRESET."""
    config, _, preset = name.rpartition(":")
    config = config or CONFIGS[0]
    if config not in CONFIGS:
        hint = suggestions.known_and_hint(config, CONFIGS)
        raise ValueError(f"network {name!r}: {config!r} is unknown; choose from {hint}")
    return importlib.import_module(f"configs.{config}").get_config(preset)


# The functions below run in worker processes.
def make_update(name: str, crop_size: int, batch_size: int) -> worker_processes.Program:
    """Returns an update of one of our networks."""
    config, _, preset = name.rpartition(":")
    program = updates.compile_update(
        preset, config or CONFIGS[0], "float32", crop_size, batch_size
    )
    facts = {"library": "jax", "params_m": program.num_params / 1e6}
    return worker_processes.Program(functools.partial(program.run, num_steps=1), facts)


def make_restoration(name: str, side: int) -> worker_processes.Program:
    """Returns the restoration of a square image of noise by one of our networks."""
    networks = restore.make_networks(make_stage(_make_config(name)))
    restorer = Restorer(*networks, name=name)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return worker_processes.Program(functools.partial(restorer.restore, image), {})
