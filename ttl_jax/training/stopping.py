"""Stopping between two steps when a signal asks for it: SIGTERM, or Ctrl-C."""

import os
import signal
import threading
from typing import Self

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """What is done is saved, and the rest was left as a signal had asked.

    Attributes:
      exit_status: What a shell makes of a program that the signal ended: 143, or 130.
    """

    def __init__(self, message: str, number: int):
        super().__init__(message)
        self.exit_status = 128 + number


class StopRequest:
    """Within it the first signal is only noted, and the second ends the process.

    Args:
      notice: What is done on the first, as the line printed then begins.

    Attributes:
      signal: The signal's number; 0 until there is one.
    """

    def __init__(self, notice: str = "Saving after this step"):
        self._line = f"{notice}; a second signal ends at once.\n".encode()

    def __enter__(self) -> Self:
        self.signal, self._handlers = 0, {}
        if threading.current_thread() is threading.main_thread():  # others get none
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame) -> None:
        self.signal = number
        for each in self._handlers:
            signal.signal(each, signal.SIG_DFL)
        # A print may be at work already.
        os.write(2, self._line)

    def __exit__(self, kind, error, trace) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.signal and kind is None:  # it came after the last step
            signal.raise_signal(self.signal)
