"""Common parts of the commands' command lines."""

import argparse
import logging
from collections.abc import Callable
from typing import NoReturn

from ttl_jax import allocator, user_paths


def start() -> None:
    """Prepares the process of a command: its memory, and warnings as plain lines."""
    allocator.use_huge_pages()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("absl")
    logger.addHandler(handler)
    logger.propagate = False
    # JAX reports each kind of device that the machine does not have.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)


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
