"""Processes that train together fail together, and tell why.

One that fails would be waited for: by the devices of the others for ever, by JAX until
its heartbeat is missed for minutes.
"""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import jax

_KEY = "ttl_jax/failure"
_SECONDS = 1.0  # between two looks at it


@contextlib.contextmanager
def failing_together() -> Iterator[None]:
    """Lets an error inside end this process at once where there are others, and them."""
    try:
        yield
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        code = error.code if isinstance(error, SystemExit) else None
        if code is None:
            traceback.print_exc()
            _tell(f"{type(error).__name__}: {error}")
        elif isinstance(code, str):
            print(code, file=sys.stderr)
            _tell(code)
        elif code:
            _tell(f"exit status {code}")
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def watch_others() -> None:
    """Ends this process, from now on, soon after another one has told why it failed."""
    if jax.process_count() > 1:
        client = _client()
        threading.Thread(target=_watch, args=(client,), daemon=True).start()


def _tell(reason: str) -> None:
    """Tells the other processes, unless one of them was first."""
    told = f"{_own_name()} has failed: {reason}"
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _client().key_value_set(_KEY, told)
    if jax.process_index() == 0:  # with it what was told goes
        time.sleep(2 * _SECONDS)


def _client():
    """Holds the values that processes share."""
    from jax._src import distributed  # it has no other name

    return distributed.global_state.client


def _own_name() -> str:
    return f"Process {jax.process_index()}"


def _watch(client) -> None:
    while True:
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # there is none
            told = client.key_value_try_get(_KEY)
            if told.startswith(f"{_own_name()} "):
                return
            print(told, file=sys.stderr, flush=True)
            os._exit(1)
        time.sleep(_SECONDS)
