"""If one of several processes fails, ends all of them and reports the reason.

Otherwise the devices of the other processes would hang in collectives for minutes, until JAX
notices the missing heartbeat.
"""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax

_KEY = "ttl_jax/failure"
_SECONDS = 1.0  # between reads of the key


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Ends all processes if an error occurs in the block and there are several processes."""
    try:
        yield
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        code = error.code if isinstance(error, SystemExit) else None
        if code is None:
            traceback.print_exc()
            _report(f"{type(error).__name__}: {error}")
        elif isinstance(code, str):
            print(code, file=sys.stderr)
            _report(code)
        elif code:
            _report(f"exit status {code}")
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def report_end(status: int) -> None:
    """Reports to the other processes, if there are any, that a signal ends this one."""
    if jax.process_count() > 1:
        _report(f"exit status {status}")


def watch_others() -> None:
    """Starts a thread that ends this process when another one reports a failure."""
    if jax.process_count() > 1:
        client = _client()
        threading.Thread(target=_watch, args=(client,), daemon=True).start()


def _report(reason: str) -> None:
    """Reports a failure to the other processes, unless one was already reported."""
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _client().key_value_set(_KEY, f"{_own_name()} has failed: {reason}")
    if jax.process_index() == 0:  # the key-value store ends with process 0
        time.sleep(2 * _SECONDS)


def _client() -> Any:
    """Returns the key-value store that the processes share."""
    from jax._src import distributed  # there is no public name

    return distributed.global_state.client


def _own_name() -> str:
    return f"Process {jax.process_index()}"


def _watch(client) -> None:
    while True:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # no failure yet
            report = client.key_value_try_get(_KEY)
            if report.startswith(f"{_own_name()} "):
                return
            print(report, file=sys.stderr, flush=True)
            os._exit(1)
        time.sleep(_SECONDS)
