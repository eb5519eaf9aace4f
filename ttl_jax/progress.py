"""Progress of long work: a bar in a terminal, and elsewhere a line every ten seconds."""

import io
import sys
from collections.abc import Iterable
from typing import Any

import tqdm

_EVERY = 10  # seconds


def track(
    items: Iterable | None = None,
    *,
    unit: str,
    what: str | None = None,
    total: int | None = None,
    is_shown: bool = True,
    delay: float = 0,
) -> tqdm.tqdm:
    """Returns tqdm's iterator or counter: a bar in a terminal, and otherwise lines.

    Args:
      items: Items to iterate over; None for a counter with `update`.
      unit: Name of one item, in the singular.
      what: Name of the work, at the beginning of a line.
      total: Number of items, if `items` has no length.
      is_shown: Whether to show anything.
      delay: Time before anything is shown, in seconds.
    """
    options: dict[str, Any] = {
        "unit": unit,
        "desc": what,
        "total": total,
        "delay": delay,
    }
    options["disable"] = not is_shown
    if sys.stderr.isatty():
        return tqdm.tqdm(items, **options)
    # The stream discards what tqdm itself writes, such as carriage returns.
    options |= {"mininterval": _EVERY, "maxinterval": _EVERY, "file": io.StringIO()}
    return _Lines(items, leave=False, **options)


class _Lines(tqdm.tqdm):
    """Progress as whole lines: items done, all items, rate and time left."""

    def display(self, msg=None, pos=None) -> bool:
        """Prints a line instead of drawing the bar; tqdm passes "" as `msg` to clear it."""
        if self.n and msg is None:
            values = self.format_dict
            what = f"{self.desc}: " if self.desc else ""
            left = ""
            if self.total and values["rate"]:
                seconds = (self.total - self.n) / values["rate"]
                left = f", about {self.format_interval(seconds)} left"
            print(
                f"{what}{self.n} of {self.total or '?'} {self.unit}s, "
                f"{values['rate'] or 0:.3g} {self.unit}s/s{left}",
                file=sys.stderr,
                flush=True,
            )
        return True
