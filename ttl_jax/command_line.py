"""What the commands' command lines have in common."""

import argparse
from collections.abc import Callable
from typing import NoReturn

from ttl_jax import user_paths


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
    if not text:
        raise argparse.ArgumentTypeError(
            "expected a path, not an empty text; is a variable of the shell not set?"
        )
    return str(user_paths.expand(text))


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
    """The type of an argument with a name and a value; `form` is such as "NAME=DIR"."""

    def parse(text: str) -> tuple[str, str]:
        name, _, value = text.partition("=")
        if not (name and value):
            raise argparse.ArgumentTypeError(f"expected {form}, not {text!r}")
        return name, value

    return parse
