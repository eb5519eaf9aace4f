"""Stopping between two steps on a signal: SIGTERM or Ctrl-C."""

import contextlib
import os
import signal
import sys
import threading
import time
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Work was saved and stopped on a signal.

    Attributes:
      exit_status: Exit status of a program that the signal ended: 143 or 130.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


class EndAtOnce:
    """Context in which a signal ends the process at once, when nothing is to be saved.

    KeyboardInterrupt would not do: libraries swallow it while they start.
    """

    def __enter__(self) -> Self:
        self._handlers = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._handlers[number] = signal.signal(number, self._end)
        return self

    def _end(self, number: int, frame) -> None:
        with contextlib.suppress(Exception):  # may interrupt a print
            sys.stdout.flush()
        os._exit(128 + number)

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


class StopRequest:
    """Context in which the first signal is only recorded; a second ends the process.

    Args:
      notice: First words of the line printed on the first signal.

    Attributes:
      signal: Number of the signal; 0 until there is one.
    """

    def __init__(self, notice: str = "Saving after this step"):
        self._line = f"{notice}; a second signal ends at once.\n".encode()

    def __enter__(self) -> Self:
        self.signal, self._handlers = 0, {}
        # Only the main thread gets signals.
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def wait(self, seconds: float) -> None:
        """Waits, or until a signal arrives."""
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
