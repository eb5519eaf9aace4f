"""Stops work on SIGTERM or Ctrl-C, between two steps."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PATIENCE = 5  # seconds


class Stopped(Exception):
    """Work was saved and stopped because of a signal.

    Attributes:
      exit_status: Exit status of a program ended by the signal: 143 or 130.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


class EndAtOnce:
    """Context in which a signal ends the process at once, since nothing must be saved.

    KeyboardInterrupt does not suffice, since libraries swallow it while they start.
    Python's own handlers do not suffice either: they wait for the end of a call, and
    XLA compiles for many seconds. So a thread ends the process, or the handler if it is
    first.

    Attributes:
      before: Called with the exit status before the process ends.
    """

    def __init__(self):
        self.before: Callable[[int], None] = lambda status: None
        self._lock, self._ends = threading.RLock(), False

    def __enter__(self) -> Self:
        self._handlers = {}
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._handlers[number] = signal.signal(number, self._handle)
        receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._sender.fileno())
        threading.Thread(target=self._watch, args=(receiver,), daemon=True).start()
        return self

    def _handle(self, number: int, frame) -> None:
        self._end(number)

    def _watch(self, receiver: socket.socket) -> None:
        with receiver:
            while numbers := receiver.recv(1):  # empty once the context ends
                # Within the context, a StopRequest may have taken over.
                if signal.getsignal(numbers[0]) == self._handle:
                    self._end(numbers[0])

    def _end(self, number: int) -> None:
        """Ends the process. The main thread waits if the other thread already does."""
        # The other thread may need a lock that this one holds, such as that of the log.
        if not self._lock.acquire(timeout=_PATIENCE):
            os._exit(128 + number)
        if self._ends:  # a second signal in this thread
            return
        self._ends = True
        with contextlib.suppress(Exception):
            for child in multiprocessing.active_children():
                child.kill()
            self.before(128 + number)
            sys.stdout.flush()
        os._exit(128 + number)

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._wakeup)
            self._sender.close()


class StopRequest:
    """Context in which the first signal is only recorded; a second ends the process.

    Args:
      notice: First words of the line printed on the first signal.
      starts: Whether to record from the beginning. Otherwise `start` begins it.

    Attributes:
      signal: Number of the signal; 0 until there is one.
    """

    def __init__(self, notice: str = "Saving after this step", *, starts: bool = True):
        self._line = f"{notice}; a second signal ends at once.\n".encode()
        self._starts = starts

    def __enter__(self) -> Self:
        self.signal, self._handlers = 0, {}
        if self._starts:
            self.start()
        return self

    def start(self) -> None:
        """Records signals from now on; further calls do nothing."""
        # Only the main thread gets signals.
        if self._handlers or threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                self._handlers[number] = signal.signal(number, self._note)

    def wait(self, seconds: float) -> None:
        """Waits for some seconds, or until a signal arrives."""
        end = time.monotonic() + seconds
        while not self.signal and time.monotonic() < end:
            time.sleep(0.1)

    def _note(self, number: int, frame) -> None:
        self.signal = number
        for each in self._handlers:
            signal.signal(each, signal.SIG_DFL)
        # print is not reentrant: the signal may interrupt one.
        os.write(2, self._line)

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.signal and kind is None:  # the signal came after the last step
            signal.raise_signal(self.signal)
