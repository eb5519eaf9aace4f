"""Servers in separate processes, started as by users."""

import contextlib
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]


@contextlib.contextmanager
def started(*arguments):
    """A Python process in the checkout; it is killed in the end."""
    command = [sys.executable, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        try:
            yield run
        finally:
            run.kill()


def start_inverter():
    """A server of photographs whose network inverts; its first line is the address."""
    code = (
        "from tests.web import restoring_test as t; from ttl_jax.web import serving; "
        "serving.run(lambda: t.restoring.make_app(t.Inverter()), '127.0.0.1', 0, "
        "lambda address: print(address, flush=True))"
    )
    return started("-c", code)


def read_address(run):
    """The address that a server of photographs prints."""
    return re.search(r"http://[^/\s]*", run.stdout.readline())[0]


def read_links(run):
    """The links that a study prints."""
    lines = iter(run.stdout.readline, "")
    links = []
    for line in lines:
        if not line.startswith("http"):
            break
        links.append(line.strip())
    return links
