"""Networks of others in PyTorch, from a file of their authors.

This module does not import PyTorch until a network is made.
"""

import ast
import importlib.util
import inspect
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ttl_jax.benchmarks import worker_processes

FORM = "NAME=FILE:CLASS [KEY=VALUE ...]"


class Peer(NamedTuple):
    """A network of others.

    Attributes:
      name: Name for the tables.
      path: Python file that defines the class.
      class_name: Subclass of `torch.nn.Module`, from images [N, 3, H, W] in [0, 1] to
        restored ones, or to a list of them, the final one first.
      arguments: Keyword arguments of the class.
    """

    name: str
    path: str
    class_name: str
    arguments: Mapping[str, Any]


def parse(words: Sequence[str]) -> Peer:
    """Returns the network that the arguments of `--peer` describe.

    Args:
      words: NAME=FILE:CLASS, then arguments of the class as KEY=VALUE. A value that is not
        a Python literal, such as 4 or [4,6,6,8], is a string.

    Raises:
      ValueError: If the form is wrong, the file does not exist, or PyTorch is missing.
    """
    first, *settings = words
    name, _, place = first.partition("=")
    path, _, class_name = place.rpartition(":")
    arguments = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        arguments[key] = value
    if not (name and path and class_name and all([*arguments, *arguments.values()])):
        raise ValueError(f"--peer {' '.join(words)}: expected {FORM}")
    if not pathlib.Path(path).expanduser().is_file():
        raise ValueError(f"--peer {first}: {path} is not a file.")
    if importlib.util.find_spec("torch") is None:
        raise ValueError(
            f"--peer {first}: needs PyTorch; install: pip install torch (its version for "
            "the CPU is enough)"
        )
    values = {key: _literal(value) for key, value in arguments.items()}
    return Peer(name, path, class_name, values)


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def make_update(
    peer: Peer, crop_size: int, batch_size: int
) -> worker_processes.Program:
    """Returns an update with random crops: L1 loss, gradients, AdamW."""
    torch, network = _make_network(peer)
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    shape = (batch_size, 3, crop_size, crop_size)
    rainy, clean = torch.rand(*shape), torch.rand(*shape)

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        l1_loss = torch.nn.functional.l1_loss
        losses = [l1_loss(each, clean) for each in _outputs(network(rainy))]
        torch.stack(losses).sum().backward()
        optimizer.step()

    num_params = sum(each.numel() for each in network.parameters())
    facts = {"library": "torch", "params_m": num_params / 1e6}
    return worker_processes.Program(update, facts)


def make_restoration(peer: Peer, side: int) -> worker_processes.Program:
    """Returns the restoration of one random square image."""
    torch, network = _make_network(peer)
    network.eval()
    image = torch.rand(1, 3, side, side)

    def restore() -> object:
        with torch.inference_mode():
            return _outputs(network(image))[0]

    return worker_processes.Program(restore, {})


def _outputs(output) -> Sequence[Any]:
    return output if isinstance(output, (list, tuple)) else [output]


def _make_network(peer: Peer) -> tuple[Any, Any]:
    """Returns the module `torch` and the network with random weights."""
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    make = _find_class(peer)
    try:
        return torch, make(**peer.arguments)
    except Exception as error:
        signature = inspect.signature(make)
        raise ValueError(
            f"--peer {peer.name}: {peer.class_name}(**{dict(peer.arguments)}) failed: "
            f"{_describe(error)}. Its arguments: {signature}"
        ) from error


def _find_class(peer: Peer) -> Any:
    path = pathlib.Path(peer.path).expanduser().resolve()
    spec: Any = importlib.util.spec_from_file_location(f"peer_{path.stem}", path)
    if spec is None:
        raise ValueError(f"--peer {peer.name}: {path} is not a Python file.")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(
            f"--peer {peer.name}: importing {path} failed: {_describe(error)}. Install what "
            "it imports; if it imports other files of its repository, set PYTHONPATH to "
            "their folder."
        ) from error
    if not hasattr(module, peer.class_name):
        classes = [
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and value.__module__ == spec.name
        ]
        raise ValueError(
            f"--peer {peer.name}: {path} has no class {peer.class_name!r}; it has "
            f"{', '.join(classes) or 'none'}."
        )
    return getattr(module, peer.class_name)


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
