"""Common parts of the commands' command lines.

Each command has a function `main(arguments)`, which returns the exit status. The
default arguments are those of the process. Invalid flags and unusable files end the
process with status 2 and one line.
"""

import argparse
import fractions
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


def make_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Returns a parser for `python -m <module>`.

    Its help keeps the line breaks of the description. An error is one line.
    """
    return _Parser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # without the usage, which is long
        self.exit(2, f"{self.prog}: error: {message} (--help lists all flags)\n")


def add_address(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a server's address."""
    text = "address to bind to; 0.0.0.0 means all addresses (default: %(default)s)"
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help=text)
    text = "TCP port; 0 chooses a free one (default: %(default)s)"
    parser.add_argument(
        "--port", type=count(0, 65535), default=8000, metavar="N", help=text
    )


def require_extra(
    parser: argparse.ArgumentParser, extra: str, modules: Iterable[str]
) -> None:
    """Ends the process with status 2 if a module of an extra is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(
            f'needs {", ".join(missing)}; install: pip install "ttl_jax[{extra}]"'
        )


def path(text: str) -> str:
    """Parses an argument that is a path: not empty, with ~ replaced."""
    try:
        return str(user_paths.expand(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def count(least: int, most: int | None = None) -> Callable[[str], int]:
    """Returns the parser of an argument that is an integer from `least` to `most`."""
    span = f"from {least}" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        value = int(text) if text.isdecimal() else -1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(
                f"expected an integer {span}, not {text!r}"
            )
        return value

    return parse


def share(text: str) -> fractions.Fraction:
    """Parses a share, more than 0 and at most 1; exact: 0.07 of 100 is 7, not more."""
    try:
        value = fractions.Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = fractions.Fraction(0)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"expected more than 0, at most 1, not {text!r}"
        )
    return value


def local_sums(text: str) -> tuple[int, int]:
    """Returns cell and radius of local sums, from an argument such as 64,1."""
    cell, _, radius = text.partition(",")
    if not (cell.isdecimal() and radius.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected CELL,RADIUS, not {text!r}")
    return int(cell), int(radius)


def named(form: str) -> Callable[[str], tuple[str, str]]:
    """Returns the parser of an argument with a name and a path.

    Args:
      form: Form of the argument for the error message, such as "NAME=DIR".
    """

    def parse(text: str) -> tuple[str, str]:
        name, _, value = text.partition("=")
        if not (name and value):
            raise argparse.ArgumentTypeError(f"expected {form}, not {text!r}")
        return name, path(value)

    return parse
