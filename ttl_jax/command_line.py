"""Common parts of the commands' command lines."""

import argparse
import importlib.util
import logging
from collections.abc import Callable, Iterable
from typing import NoReturn

from ttl_jax import allocator, user_paths


def start() -> None:
    """Prepares the process of a command with JAX: its memory, and its warnings."""
    allocator.use_huge_pages()
    print_plain_warnings()
    # JAX reports each kind of device that the machine does not have.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)


def print_plain_warnings() -> None:
    """Prints warnings without the prefix of their level and logger."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("absl", "ttl_jax"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.propagate = False


def make_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m ttl_jax.<command>`, whose help keeps its examples' lines."""
    return _Parser(
        prog=f"python -m ttl_jax.{command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage in front of it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists all flags)\n")


def add_address(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a server's address."""
    text = (
        "address to bind to; 0.0.0.0 is all of this computer's (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help=text)
    text = "TCP port; 0 takes a free one (default: %(default)s)"
    parser.add_argument("--port", type=_port, default=8000, metavar="N", help=text)


def require_extra(
    parser: argparse.ArgumentParser, extra: str, modules: Iterable[str]
) -> None:
    """Ends the process with status 2 if a module of an extra is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(
            f'needs {", ".join(missing)}; install: pip install "ttl_jax[{extra}]"'
        )


def _port(text: str) -> int:
    port = count(0)(text)
    if port > 65535:
        raise argparse.ArgumentTypeError(f"expected a number to 65535, not {text!r}")
    return port


def path(text: str) -> str:
    """The type of an argument that is a path: not empty, with ~ replaced."""
    try:
        return str(user_paths.expand(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `least` on."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a number from {least}, not {text!r}"
            )
        return int(text)

    return parse


def named(form: str) -> Callable[[str], tuple[str, str]]:
    """The type of an argument with a name and a path; `form` is such as "NAME=DIR"."""

    def parse(text: str) -> tuple[str, str]:
        name, _, value = text.partition("=")
        if not (name and value):
            raise argparse.ArgumentTypeError(f"expected {form}, not {text!r}")
        return name, path(value)

    return parse
